//! `--notify` over the wire: real runs, and real servers on free ports of this machine, over HTTP
//! and over TLS with an authority of the test's own.
//!
//! What is posted is held against `golden/notify.json`, in the form of Alertmanager's webhook,
//! version 4. Ids and moments are replaced there; that they are those of the run is checked apart.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use support::process::{Ended, Running};
use support::{SHORT, World};

/// Variables that would lead a post elsewhere, or let somebody else vouch for the receiver.
const STRANGE: [&str; 8] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A run with one flipped bit that nobody uses, which posts its finding to this URL.
fn order(world: &World, url: &str) -> Command {
    let fault = "--inject ram=0x3000000:5@end,replica=1";
    let mut command = world.command(&format!(
        "run start sha256 -n 3 {SHORT} {fault} --json --notify {url}"
    ));
    for name in STRANGE {
        command.env_remove(name);
    }
    command
}

/// That run; its exit code and verdict are what they are without a notification.
#[track_caller]
fn find(world: &World, url: &str) -> Ended {
    let ended = Running::start(&mut order(world, url)).wait().expect(3);
    check_run(&ended);
    ended
}

#[track_caller]
fn check_run(ended: &Ended) {
    let run = ended.data();
    assert_eq!(run["verdict"], "deviates");
    assert_eq!(run["deviations"][0]["replica"], 1);
}

/// The only warning of a run, which repeats nothing of the URL but its host.
#[track_caller]
fn warning(ended: &Ended) -> String {
    let document = ended.document();
    let warnings = document["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let warning = warnings[0].as_str().unwrap().to_owned();
    assert!(!warning.contains("secret"), "{warning}");
    warning
}

fn no_warning(ended: &Ended) {
    assert_eq!(ended.document()["warnings"], json!([]));
}

/// A request: its head in lower case, and its body.
type Request = (String, Vec<u8>);

/// A server that answers one request after the other with these statuses.
struct Receiver {
    url: String,
    serving: JoinHandle<Vec<Request>>,
}

impl Receiver {
    fn start(statuses: &'static [u16]) -> Self {
        Self::start_with("http", statuses, |stream| stream)
    }

    fn start_with<S: Read + Write>(
        scheme: &str,
        statuses: &'static [u16],
        dress: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let (listener, port) = listen();
        let url = format!("{scheme}://localhost:{port}/hook?token=secret");
        let serving = spawn(move || {
            let accepted = listener.incoming().map(Result::unwrap);
            let answered = statuses.iter().zip(accepted);
            answered
                .map(|(status, stream)| answer(dress(stream), *status))
                .collect()
        });
        Self { url, serving }
    }

    /// What it was asked, once it has answered as often as it was told to.
    fn requests(self) -> Vec<Request> {
        self.serving.join().unwrap()
    }
}

/// A free port of this machine, where somebody listens.
fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn answer(stream: impl Read + Write, status: u16) -> Request {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    let head = head.to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let mut stream = reader.into_inner();
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
    stream.flush().unwrap();
    (head, body)
}

/// FNV-1a over sorted labels, as Alertmanager makes fingerprints.
fn fingerprint(labels: &Value) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for (name, value) in labels.as_object().unwrap() {
        for text in [name.as_str(), value.as_str().unwrap()] {
            for byte in text.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    format!("{hash:016x}")
}

/// A message with its ids and moments replaced, each of which must be that of the run.
fn normalised(body: &[u8], run: &Value, finding: &Value) -> Value {
    let mut message: Value = serde_json::from_slice(body).unwrap();
    let alert = &mut message["alerts"][0];
    assert_eq!(alert["fingerprint"], fingerprint(&alert["labels"]));
    assert_eq!(alert["startsAt"], finding["at"]);
    alert["fingerprint"] = json!("FINGERPRINT");
    alert["startsAt"] = json!("MOMENT");
    let text = message.to_string();
    let text = text.replace(run["id"].as_str().unwrap(), "RUN");
    let text = text.replace(finding["id"].as_str().unwrap(), "FINDING");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_finding_is_posted_in_alertmanager_s_form() {
    let world = World::new();
    let receiver = Receiver::start(&[200]);
    let ended = find(&world, &receiver.url);
    no_warning(&ended);
    let requests = receiver.requests();
    let (head, body) = &requests[0];
    assert!(
        head.starts_with("post /hook?token=secret http/1.1"),
        "{head}"
    );
    assert!(head.contains("content-type: application/json"), "{head}");
    let run = ended.data();
    let finding = world.data("finding show @last");
    let found = normalised(body, &run, &finding);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/notify.json");
    let golden: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(found, golden, "notify.json should be\n{found:#}");

    // A run without findings has nothing to tell: a server that would be asked is not.
    let (listener, port) = listen();
    listener.set_nonblocking(true).unwrap();
    let clean = format!("run start sha256 -n 2 {SHORT} --json --notify http://localhost:{port}/");
    no_warning(&world.run(&clean).expect(0));
    let nobody = listener.accept().map(|_| ()).unwrap_err().kind();
    assert_eq!(nobody, std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_server_that_fails_is_asked_again_but_not_for_ever() {
    let world = World::new();
    let receiver = Receiver::start(&[500, 500, 200]);
    no_warning(&find(&world, &receiver.url));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|(_, body)| *body == requests[0].1));

    let receiver = Receiver::start(&[503; 4]);
    let said = warning(&find(&world, &receiver.url));
    assert!(said.contains("it answered 503 (4 attempts)"), "{said}");
    assert_eq!(receiver.requests().len(), 4);

    let receiver = Receiver::start(&[403]);
    let said = warning(&find(&world, &receiver.url));
    assert!(said.contains("it answered 403 (1 attempt)"), "{said}");
}

#[test]
fn a_server_that_does_not_answer_changes_nothing_but_a_warning() {
    let world = World::new();
    // It takes connections and what is posted, and never says a word.
    let (silent, port) = listen();
    let said = warning(&find(&world, &format!("http://localhost:{port}/secret")));
    assert!(said.contains("it did not answer in time ("), "{said}");
    silent.set_nonblocking(true).unwrap();
    let asked = silent.incoming().take_while(Result::is_ok).count();
    assert!((1..=4).contains(&asked), "it was asked {asked} times");

    drop(silent);
    let said = warning(&find(&world, &format!("http://localhost:{port}/secret")));
    assert!(said.contains("no connection"), "{said}");
    // People are told as well.
    let mut order = world.command(&format!(
        "run start sha256 -n 2 {SHORT} --inject ram=0x3000000:5@end --notify \
         http://localhost:{port}/secret"
    ));
    let told = Running::start(&mut order).wait().expect(3).stdout;
    let line = told.lines().find(|line| line.contains("warning"));
    assert!(line.unwrap().contains("was not notified"), "{told}");
    world.assert_clean();
}

/// An authority of the test's own, and what a server shows that it vouches for.
struct Authority {
    certificate: PathBuf,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new(world: &World) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        let server_key = KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned()];
        let shown = CertificateParams::new(names).unwrap();
        let shown = shown.signed_by(&server_key, &issuer).unwrap();
        let certificate = world.path("authority.pem");
        fs::write(&certificate, pem(own.der())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server_key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![shown.der().clone()], PrivateKeyDer::Pkcs8(server_key));
        Self {
            certificate,
            server: Arc::new(server.unwrap()),
        }
    }

    /// A server over TLS.
    fn receiver(&self, statuses: &'static [u16]) -> Receiver {
        let server = Arc::clone(&self.server);
        Receiver::start_with("https", statuses, move |stream| {
            StreamOwned::new(ServerConnection::new(Arc::clone(&server)).unwrap(), stream)
        })
    }
}

/// A certificate as text.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    let lines: Vec<&str> = lines.map(|line| str::from_utf8(line).unwrap()).collect();
    let content = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
}

#[test]
fn https_reaches_whom_an_authority_of_the_user_s_vouches_for() {
    let world = World::new();
    let authority = Authority::new(&world);
    let post = |path: Option<&Path>| {
        let receiver = authority.receiver(&[204]);
        let mut order = order(&world, &receiver.url);
        if let Some(path) = path {
            order.env("SSL_CERT_FILE", path);
        }
        let ended = Running::start(&mut order).wait().expect(3);
        check_run(&ended);
        no_warning(&ended);
        let (_, body) = receiver.requests().remove(0);
        let message: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(message["version"], "4");
        assert_eq!(message["alerts"].as_array().unwrap().len(), 1);
    };
    post(Some(&authority.certificate));
    // The same by the configuration.
    let configuration = world.path("config/vardoger");
    fs::create_dir_all(&configuration).unwrap();
    let named = format!("[notify]\nca_file = {:?}\n", authority.certificate);
    fs::write(configuration.join("config.toml"), named).unwrap();
    post(None);

    // Without it nobody vouches for that server, and nothing is posted.
    fs::remove_dir_all(&configuration).unwrap();
    let (listener, port) = listen();
    let server = Arc::clone(&authority.server);
    let serving = spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connection = ServerConnection::new(server).unwrap();
        // The other side breaks the handshake off.
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok::<(), std::io::Error>(())
    });
    let said = warning(&find(&world, &format!("https://localhost:{port}/secret")));
    assert!(
        said.contains("TLS failed") && said.contains("(1 attempt)"),
        "{said}"
    );
    assert!(serving.join().unwrap().is_err());
}

#[test]
fn authorities_that_cannot_be_read_are_refused_before_any_machine_runs() {
    let world = World::cold();
    let (text, cut) = (world.path("text"), world.path("cut"));
    fs::write(&text, "no certificate\n").unwrap();
    fs::write(&cut, "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    for path in [&world.path("none"), &text, &cut] {
        let mut order = order(&world, "https://localhost:1/");
        let refused = Running::start(order.env("SSL_CERT_FILE", path))
            .wait()
            .expect(2);
        let name = path.display().to_string();
        assert!(refused.stderr.contains(&name), "{}", refused.stderr);
    }
    assert!(!world.store().exists());
}
