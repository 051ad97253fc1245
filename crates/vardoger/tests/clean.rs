//! Healthy machines: replicas of every computation end alike, to the last bit, also on a machine
//! that is busy with something else.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use support::{World, schema};

const COMPUTATIONS: [&str; 31] = [
    "aes",
    "bigint",
    "compress",
    "copy",
    "core",
    "crc",
    "decompose",
    "elementary",
    "fft",
    "fused",
    "gather",
    "hashes",
    "images",
    "interpreter",
    "kernel",
    "linpack",
    "mappings",
    "matmul",
    "memory",
    "multiply",
    "products",
    "sha256",
    "sort",
    "sqlite",
    "stream",
    "text",
    "threads",
    "vectors",
    "video",
    "x87",
    "zstd",
];

/// Nothing differs, and something was looked at.
fn check_pass(run: &Value) {
    assert_eq!(run["verdict"], "pass", "{}", run["reason"]);
    assert_eq!(run["deviations"], json!([]));
    assert_eq!(run["undecided_words"], 0);
    assert!(run["coverage"]["bytes_compared"].as_u64().unwrap() > 0);
    for replica in run["replicas"].as_array().unwrap() {
        assert_eq!(replica["outcome"], "ended");
        assert_eq!(
            replica["result_digest"],
            run["replicas"][0]["result_digest"]
        );
    }
}

#[test]
fn five_machines_end_alike() {
    let world = World::new();
    let ended = world.run("run start sha256 -n 5 --jobs 2 --json").expect(0);
    let document = ended.document();
    schema::assert_conforms(&document);
    let run = &document["data"];
    check_pass(run);
    assert_eq!(run["replicas"].as_array().unwrap().len(), 5);
    let listed = world.run("run ls --json").expect(0).document();
    schema::assert_conforms(&listed);
    assert_eq!(listed["data"]["runs"][0]["id"], run["id"]);
    assert!(world.findings().is_empty());
    world.assert_clean();
}

#[test]
fn clean_runs_of_every_computation_find_nothing() {
    let world = World::new();
    for (number, computation) in COMPUTATIONS.iter().enumerate() {
        let (load, budget) = if number % 2 == 0 {
            (None, "150ms")
        } else {
            (Some(Load::on(2)), "50ms")
        };
        let run = world.data(&format!(
            "run start {computation} -n 3 --jobs 2 --budget {budget} --seed {number}"
        ));
        check_pass(&run);
        drop(load);
    }
    assert!(world.findings().is_empty());
}

#[test]
fn machines_compute_what_this_one_does_natively() {
    let world = World::new();
    let listed = world.data("computation ls");
    let names = listed["computations"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, COMPUTATIONS);
    for computation in COMPUTATIONS {
        // The smallest size, of which the golden digest ships.
        let run = world.data(&format!("run start {computation} -n 2 --budget 1ms"));
        check_pass(&run);
        assert!(run["golden"].is_string(), "{computation}");
        assert_eq!(run["golden"], run["replicas"][0]["result_digest"]);
    }
}

/// Threads that keep processors busy until it is dropped, as nice as emulators are: beside others,
/// those would get next to nothing.
struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(processors: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..processors).map(|_| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                // On Linux, of this thread alone.
                rustix::process::setpriority_process(None, 10).unwrap();
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        Self {
            threads: threads.collect(),
            over,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}
