//! Where the store is, and a session on it that an interruption ends cleanly.

use crate::args::Global;
use crate::failure::Failure;
use control::session::{default_store, open_store};
use control::{ControlError, Session, SessionConfig};
use store::Store;
use tokio::signal::unix::{SignalKind, signal};

/// What the flags and the configuration file mean; a flag wins.
pub(crate) fn config(global: &Global) -> Result<SessionConfig, Failure> {
    let config = crate::config::load()?;
    let store = global.store.clone().or(config.store);
    Ok(SessionConfig {
        store: store.unwrap_or_else(default_store),
        max_bytes: config.store_max_bytes,
    })
}

/// Opens everything that a run needs, unless an interruption comes first.
pub(crate) async fn open(
    global: &Global,
    interruption: impl Future<Output = ()>,
) -> Result<Session, Failure> {
    let config = config(global)?;
    tokio::select! {
        session = Session::open(config) => Ok(session?),
        () = interruption => Err(ControlError::Interrupted.into()),
    }
}

/// Opens the store alone.
pub(crate) async fn store(global: &Global) -> Result<Store, Failure> {
    Ok(open_store(&config(global)?).await?)
}

/// Waits until the user or the system says stop. From this call on, not from the first wait, a
/// signal does not end us by itself.
pub(crate) fn interruption() -> impl Future<Output = ()> {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    async {
        match signals {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            // Without handlers the default action ends us, and the next command sweeps.
            _ => std::future::pending().await,
        }
    }
}
