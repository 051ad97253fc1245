//! The majority of five memories, word by word, against the same loop in C.
//!
//! | images | what is compared | bound |
//! |---|---|---|
//! | equal | nothing differs: nearly every page of every run | ≥ 0.95 of C's speed |
//! | one wrong | one image has a wrong word in every page | ≥ 0.95 |
//! | all wrong | every image has a wrong word in every page, another one in each | shown only |
//! | one wild | one image has nothing in common with the others | shown only |
//!
//! C is the loop as one writes it, word by word, compiled here by `cc -O3 -march=native`; ours is
//! built like the product, for any x86-64. A second loop in C, by blocks that suit the vectors of
//! this very CPU, is shown too: it is how far the bound could be moved. C counts the differing
//! words. Ours counts them too, must come to the same, and also lists and digests each of them,
//! which is why it is no match where most words differ. Both take turns, each in a process that
//! holds the images in its own memory; the best of all trials counts, since every disturbance only
//! ever adds.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod support;

use anyhow::{Context, ensure};
use model::PAGE_BYTES;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use state::{Base, Limits, MemoryComparison, MemoryView, compare_memory};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;
use support::{Bound, Bounded, Trials, conclude, cpu_time};

const IMAGES: usize = 5;
const IMAGE_BYTES: usize = 96 << 20;
const TRIALS: usize = 25;

/// The least of C's speed.
const LEAST_OF_C: f64 = 0.95;

const LIMITS: Limits = Limits { listed: 64 };

/// Words that differ from the majority, image by image, and those that none decides.
type Counts = [u64; IMAGES + 1];

fn main() -> anyhow::Result<ExitCode> {
    let place = tempfile::tempdir().context("cannot make a directory")?;
    let program = compile(place.path())?;
    let mut images = images();
    let mut figures = Vec::new();
    let cases: [(&str, Option<&'static str>, Change); 4] = [
        ("equal", Some("equal ÷ C"), |_| {}),
        ("one wrong", Some("one wrong ÷ C"), |images| {
            spoil(&mut images[3], 40);
        }),
        ("all wrong", None, |images| {
            for (index, image) in images.iter_mut().enumerate() {
                spoil(image, 100 * (index + 1));
            }
        }),
        ("one wild", None, |images| {
            images[3].iter_mut().for_each(|byte| *byte = !*byte);
        }),
    ];
    for (name, bound, change) in cases {
        change(&mut images);
        let ratio = measure(name, &images, &program, place.path())?;
        figures.extend(bound.map(|what| Bounded {
            what,
            ratio,
            bound: Bound::Least(LEAST_OF_C),
        }));
    }
    Ok(conclude("majority", &figures))
}

type Change = fn(&mut [Vec<u8>]);

/// Equal images of what no compressor could shorten.
fn images() -> Vec<Vec<u8>> {
    let mut image = vec![0; IMAGE_BYTES];
    ChaCha8Rng::seed_from_u64(7).fill_bytes(&mut image);
    vec![image; IMAGES]
}

/// Flips one bit in one word of every page.
fn spoil(image: &mut [u8], word: usize) {
    for (number, page) in image.as_chunks_mut::<PAGE_BYTES>().0.iter_mut().enumerate() {
        page[(word + number) % 512 * 8] ^= 1;
    }
}

fn compile(place: &Path) -> anyhow::Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/majority.c");
    let program = place.join("majority");
    let status = Command::new("cc")
        .args(["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Werror"])
        .args(["-O3", "-march=native", "-o"])
        .args([&program, &source])
        .status()
        .context("cannot start cc")?;
    ensure!(status.success(), "cc ended with {status}");
    Ok(program)
}

/// How fast ours is, with C as 1.
fn measure(name: &str, images: &[Vec<u8>], program: &Path, place: &Path) -> anyhow::Result<f64> {
    let mut c = InC::start(images, program, place)?;
    let views: Vec<MemoryView<'_>> = images.iter().map(|image| MemoryView::Full(image)).collect();
    let base = Base::new(&[], IMAGE_BYTES as u64)?;
    let (mut ours, mut plain, mut blocked) =
        (Trials::default(), Trials::default(), Trials::default());
    for _ in 0..TRIALS {
        let (comparison, time) = cpu_time(|| compare_memory(&base, black_box(&views), LIMITS));
        ours.add(time);
        let counted = counts(&comparison?)?;
        // Only now: neither walks while the other is timed.
        c.walk()?;
        for trials in [&mut plain, &mut blocked] {
            let (time, theirs) = c.answer()?;
            ensure!(theirs == counted, "C counts {theirs:?}, ours {counted:?}");
            trials.add(time);
        }
    }
    println!("{name}: {IMAGES} images of {} MiB", IMAGE_BYTES >> 20);
    println!("  C, by words  {plain}");
    println!("  C, by blocks {blocked}");
    println!("  ours         {ours}");
    let ratio = plain.best_s() / ours.best_s();
    let of_blocked = blocked.best_s() / ours.best_s();
    println!("  ours ÷ C, as speed: {ratio:.2} by words, {of_blocked:.2} by blocks");
    Ok(ratio)
}

fn counts(comparison: &MemoryComparison) -> anyhow::Result<Counts> {
    let replicas = comparison.replicas.iter().map(|one| one.differing_words);
    let counts: Vec<u64> = replicas.chain([comparison.undecided_words]).collect();
    counts.try_into().ok().context("not five images")
}

/// The loop in C, in its own process.
struct InC {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl InC {
    fn start(images: &[Vec<u8>], program: &Path, place: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        for (index, image) in images.iter().enumerate() {
            let path = place.join(index.to_string());
            std::fs::write(&path, image).context("cannot write an image")?;
            paths.push(path);
        }
        let mut child = Command::new(program)
            .args(&paths)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the loop in C")?;
        let orders = child.stdin.take().context("no pipe")?;
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut started = Self {
            child,
            orders,
            answers,
        };
        ensure!(started.line()? == "ready", "the loop in C cannot read");
        Ok(started)
    }

    /// Has it walk once more, both ways.
    fn walk(&mut self) -> anyhow::Result<()> {
        self.orders.write_all(b"\n")?;
        Ok(())
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// The time of one walk, and what it counted.
    fn answer(&mut self) -> anyhow::Result<(Duration, Counts)> {
        let line = self.line()?;
        let numbers: Vec<u64> = line
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("the loop in C says {line:?}"))?;
        let (time, counted) = numbers.split_first().context("an empty line")?;
        let counted = counted.try_into().context("not five counts")?;
        Ok((Duration::from_nanos(*time), counted))
    }
}

impl Drop for InC {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
