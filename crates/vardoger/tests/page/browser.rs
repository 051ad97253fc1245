//! Debian's Chromium without a window, driven by its own protocol over two pipes.
//!
//! ```text
//!  test ──► descriptor 3 of chromium      JSON, each message ended by a zero byte
//!  test ◄── descriptor 4
//! ```
//!
//! Pipes, not a port: nobody else can reach the browser, and it ends with the test. Every wait has
//! a deadline.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;
use tempfile::TempDir;

/// The longest that one answer may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Flags that keep the browser to what the test asks for.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync \
    --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe";

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) scheme: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// A browser with one page.
pub(crate) struct Browser {
    child: Child,
    sender: ChildStdin,
    messages: Receiver<Value>,
    /// What the page did by itself, since it was opened.
    events: Vec<Value>,
    session: Option<String>,
    asked: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with an empty page.
    pub(crate) fn start() -> Self {
        let profile = tempfile::Builder::new()
            .prefix("vardoger-browser-")
            .tempdir()
            .unwrap();
        // The pipes come as standard input and output, which any program has, and are moved.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null"])
            .arg("chromium")
            .args(FLAGS.split_ascii_whitespace())
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().unwrap();
        let sender = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (told, messages) = channel();
        spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                // Nobody listens any more once the test has ended.
                drop(told.send(message));
            }
        });
        let mut browser = Self {
            child,
            sender,
            messages,
            events: Vec::new(),
            session: None,
            asked: 0,
            _profile: profile,
        };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = self.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = &target["targetId"];
        let attached = json!({"targetId": target, "flatten": true});
        let attached = self.ask("Target.attachToTarget", attached);
        self.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.ask(&format!("{domain}.enable"), json!({}));
        }
        let watch = "window.alerted = 0; window.alert = () => { window.alerted += 1; };";
        let watch = json!({"source": watch});
        self.ask("Page.addScriptToEvaluateOnNewDocument", watch);
    }

    /// Opens a file, and waits until it is there.
    pub(crate) fn open(&mut self, file: &Path, view: View) {
        self.look(view);
        self.events.clear();
        let url = format!("file://{}", file.display());
        let opened = self.ask("Page.navigate", json!({"url": url}));
        assert!(opened.get("errorText").is_none(), "{opened}");
        let loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(loaded) {
            let event = self.message();
            self.events.push(event);
        }
    }

    /// Changes how the page is looked at.
    pub(crate) fn look(&mut self, view: View) {
        let scheme = json!({"name": "prefers-color-scheme", "value": view.scheme});
        self.ask("Emulation.setEmulatedMedia", json!({"features": [scheme]}));
        let size = json!({
            "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.ask("Emulation.setDeviceMetricsOverride", size);
    }

    /// What an expression is worth in the page; a promise is waited for.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true,
        });
        let mut answer = self.ask("Runtime.evaluate", asked);
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].take()
    }

    /// What the page complained of, asked for, or opened by itself.
    pub(crate) fn complaints(&self) -> Vec<&Value> {
        let own_file = |event: &Value| {
            let url = &event["params"]["request"]["url"];
            url.as_str().is_some_and(|url| url.starts_with("file://"))
        };
        let is_one = |event: &&Value| match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => !own_file(event),
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" | "Log.entryAdded" => true,
            "Runtime.consoleAPICalled" => true,
            _ => false,
        };
        self.events.iter().filter(is_one).collect()
    }

    /// A picture of what is seen, as PNG.
    pub(crate) fn picture(&mut self) -> Vec<u8> {
        let taken = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut message = message.to_string().into_bytes();
        message.push(0);
        self.sender.write_all(&message).unwrap();
        loop {
            let mut answer = self.message();
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn message(&mut self) -> Value {
        let message = self.messages.recv_timeout(DEADLINE);
        message.unwrap_or_else(|error| panic!("chromium does not answer ({error}): is it there?"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // All that it started is in its process group.
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}
