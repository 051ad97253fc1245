//! A run's findings as one webhook, in the form that Alertmanager sends (version 4).
//!
//! ```text
//!  --notify URL ─► Target (checked before the run)
//!  findings ─► message ─► post ──┬─ 2xx ─────────────────────────► done
//!                 ▲              ├─ 5xx, 429, no answer, closed ─► wait, again
//!                 └── back-off ──┤
//!                                └─ any other, or too late ──────► warning
//! ```
//!
//! A notification never changes a run: verdict and exit code stay, and what could not be delivered
//! is a warning. It takes at most [`Limits::deadline`]. Redirects are not followed, so that findings
//! go nowhere but where they were sent. A target is shown without its user, path and query, which
//! may hold secrets.

pub(crate) mod authorities;
mod message;

use crate::failure::Failure;
use model::{Finding, Run};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

/// The longest URL: longer ones are refused by many servers.
const MAX_URL_BYTES: usize = 2_048;

/// How long and how often a delivery is tried.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The time for all attempts: a user waits for it after a run.
    deadline: Duration,
    /// The time for one attempt: a healthy receiver answers in a fraction of it.
    attempt: Duration,
    /// Attempts: with the waits between them they fit the deadline.
    attempts: u32,
    /// The first wait between attempts; each further one is twice as long.
    back_off: Duration,
}

impl Limits {
    const ORDINARY: Self = Self {
        deadline: Duration::from_secs(10),
        attempt: Duration::from_secs(3),
        attempts: 4,
        back_off: Duration::from_millis(250),
    };
}

/// Where findings go.
#[derive(Clone)]
pub(crate) struct Target {
    uri: Uri,
    /// Who may vouch for it over `https`.
    authorities: RootCerts,
}

impl Target {
    /// Takes a URL of `http` or `https`. What is wrong with it is said without repeating it.
    /// `authorities` is the file of those who may vouch for it, where there is one.
    pub(crate) fn parse(text: &str, authorities: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            let hint = "such as https://alerts.example/hook".to_owned();
            Failure::usage(format!("the URL of --notify {what}"), Some(hint))
        };
        if text.len() > MAX_URL_BYTES {
            return Err(wrong("is too long"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("cannot be read"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("begins with neither http:// nor https://"));
        }
        match uri.host() {
            None | Some("") => Err(wrong("names no host")),
            Some(_) => Ok(Self {
                authorities: match uri.scheme_str() {
                    Some("https") => authorities::load(authorities)?,
                    _ => RootCerts::WebPki,
                },
                uri,
            }),
        }
    }
}

/// Scheme, host and port alone.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}", self.uri.host().unwrap_or_default())?;
        self.uri
            .port_u16()
            .map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Why one attempt failed, and whether another may succeed.
struct Refusal {
    reason: String,
    may_pass: bool,
}

/// Posts the findings of a run, if there are any; gives the warning where they did not arrive.
pub(crate) async fn notify(target: &Target, run: &Run, findings: &[Finding]) -> Option<String> {
    if findings.is_empty() {
        return None;
    }
    let body = match serde_json::to_vec(&message::of(run, findings)) {
        Ok(body) => body,
        Err(error) => return Some(format!("the notification could not be written: {error}")),
    };
    let to = target.clone();
    let posting = move || deliver(&to, &body, Limits::ORDINARY);
    match tokio::task::spawn_blocking(posting).await {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(format!("{target} was not notified: {reason}")),
        Err(error) => Some(format!("{target} was not notified: {error}")),
    }
}

/// Posts until it is accepted, or the limits are reached.
fn deliver(target: &Target, body: &[u8], limits: Limits) -> Result<(), String> {
    let begun = Instant::now();
    let mut pause = limits.back_off;
    let mut tried = 0;
    loop {
        let left = limits.deadline.saturating_sub(begun.elapsed());
        tried += 1;
        let Refusal { reason, may_pass } = match post(target, body, left.min(limits.attempt)) {
            Ok(()) => return Ok(()),
            Err(refusal) => refusal,
        };
        let too_late = begun.elapsed() + pause >= limits.deadline;
        if !may_pass || tried >= limits.attempts || too_late {
            let times = if tried == 1 { "attempt" } else { "attempts" };
            return Err(format!("{reason} ({tried} {times})"));
        }
        std::thread::sleep(pause);
        pause *= 2;
    }
}

fn post(target: &Target, body: &[u8], within: Duration) -> Result<(), Refusal> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(within))
        .http_status_as_error(false)
        .max_redirects(0)
        .tls_config(
            TlsConfig::builder()
                .root_certs(target.authorities.clone())
                .build(),
        )
        .user_agent(concat!("vardoger/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let request = agent
        .post(&target.uri)
        .header("Content-Type", "application/json");
    let status = match request.send(body) {
        Ok(response) => response.status().as_u16(),
        Err(error) => return Err(failed(&error)),
    };
    match status {
        200..300 => Ok(()),
        _ => Err(Refusal {
            reason: format!("it answered {status}"),
            may_pass: status >= 500 || status == 429,
        }),
    }
}

/// What failed, in words that repeat nothing of the URL.
fn failed(error: &ureq::Error) -> Refusal {
    let (reason, may_pass) = match error {
        ureq::Error::Timeout(_) => ("it did not answer in time".to_owned(), true),
        ureq::Error::ConnectionFailed => ("no connection".to_owned(), true),
        ureq::Error::HostNotFound => ("its host is not known".to_owned(), true),
        // What is wrong with a certificate comes as data that make no sense.
        ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            (format!("TLS failed: {error}"), false)
        }
        ureq::Error::Io(error) => (format!("no connection: {}", error.kind()), true),
        ureq::Error::Tls(what) => (format!("TLS failed: {what}"), false),
        ureq::Error::Rustls(error) => (format!("TLS failed: {error}"), false),
        ureq::Error::Protocol(_) => ("its answer is not HTTP".to_owned(), false),
        _ => ("the request cannot be made".to_owned(), false),
    };
    Refusal { reason, may_pass }
}

#[cfg(test)]
mod tests;
