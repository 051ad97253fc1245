//! The commands of QEMU's monitor that captures need. Their arguments are JSON as QEMU's manual has
//! it: the generated types know an older schema, and would make it three times as long.

use qapi::qmp::QmpCommand;
use qapi::{Any, Command};
use serde::Serialize;
use serde_json::Value;

macro_rules! commands {
    ($($command:ident = $name:literal),* $(,)?) => {$(
        #[doc = concat!("`", $name, "`, with its arguments.")]
        #[derive(Debug, Serialize)]
        #[serde(transparent)]
        pub(super) struct $command(pub(super) Value);

        impl Command for $command {
            type Ok = Any;
            const NAME: &'static str = $name;
            const ALLOW_OOB: bool = false;
        }

        impl QmpCommand for $command {}
    )*};
}

commands! {
    AddDescriptor = "add-fd",
    AddNode = "blockdev-add",
    AddExport = "block-export-add",
    CancelJob = "job-cancel",
    CreateImage = "blockdev-create",
    DeleteExport = "block-export-del",
    DeleteNode = "blockdev-del",
    DismissJob = "job-dismiss",
    KeepDescriptor = "getfd",
    ListDescriptors = "query-fdsets",
    ListDrives = "query-block",
    ListExports = "query-block-exports",
    ListJobs = "query-jobs",
    ListNodes = "query-named-block-nodes",
    RemoveBitmap = "block-dirty-bitmap-remove",
    RemoveDescriptor = "remove-fd",
    StartServer = "nbd-server-start",
    StopServer = "nbd-server-stop",
    Transaction = "transaction",
}
