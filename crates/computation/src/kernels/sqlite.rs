//! `sqlite`: a ledger in an SQLite database that lives in memory.
//!
//! ```text
//! step:  begin; 24 entries in, their accounts updated, the oldest entries out; commit
//!        queries: by key, by index, a join with sums, a sort; every row enters `running`
//!        every 16th step: vacuum
//!        running = SHA-256( running ‖ all rows ), and is the source of the next step's values
//! end:   integrity check, then every row of every table
//! ```
//!
//! A wrong bit in a row lives until the row is read; balances, notes and entries are read at the
//! latest at the end. One in a page's free space, or in a cell that was deleted, is lost: hence
//! medium. An error of the database (a malformed page, say) is a result: its code enters `running`.
//!
//! The database opens no file: it is in memory, and so is all that it would put aside.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, params};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;

const NAME: &str = "sqlite";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "a ledger in an SQLite database in memory, every row of every query hashed",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger, Target::Memory],
    units: &[Unit::Branches, Unit::Pointers, Unit::LoadStore],
    data_types: &[
        DataType::I64,
        DataType::F64,
        DataType::Text,
        DataType::Bytes,
    ],
    algorithms: &[Algorithm::Database],
    extensions: &[],
    portable: true,
    instructions_per_step: 4_900_000,
    emulation_weight: 2.4,
    default_budget_s: 1.0,
    minimum_steps: VACUUM_STEPS,
    start: Start::Alone(Ledger::start),
};

/// Steps from one vacuum to the next: the least that exercises all paths.
pub(crate) const VACUUM_STEPS: u64 = 16;
const ACCOUNTS: u64 = 256;
const ENTRIES_PER_STEP: u64 = 24;
/// Entries that are kept: with the indexes, about 200 pages of the database.
const ENTRIES_KEPT: u64 = 1536;
const NOTE_BYTES: usize = 64;

const SCHEMA: &str = "
    PRAGMA journal_mode = MEMORY;
    PRAGMA temp_store = MEMORY;
    CREATE TABLE account (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, balance INTEGER NOT NULL,
        rate REAL NOT NULL, note BLOB NOT NULL
    ) STRICT;
    CREATE INDEX account_by_name ON account (name);
    CREATE INDEX account_by_balance ON account (balance);
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY, account INTEGER NOT NULL REFERENCES account (id),
        amount INTEGER NOT NULL, memo TEXT NOT NULL
    ) STRICT;
    CREATE INDEX entry_by_account ON entry (account, amount);
";
const NEW_ACCOUNT: &str = "INSERT INTO account VALUES (?1, ?2, ?3, ?4, ?5)";
const NEW_ENTRY: &str = "INSERT INTO entry VALUES (?1, ?2, ?3, ?4)";
const CHANGE: &str =
    "UPDATE account SET balance = balance + ?2, rate = rate * 0.75 + ?3, note = ?4 WHERE id = ?1";
const FORGET: &str = "DELETE FROM entry WHERE id <= ?1";
/// The queries of a step; each takes one number below the count of accounts.
const QUERIES: [&str; 4] = [
    "SELECT * FROM account WHERE id = ?1",
    "SELECT id, name, balance FROM account WHERE balance >
        (SELECT balance FROM account WHERE id = ?1) ORDER BY balance, id LIMIT 16",
    "SELECT a.name, count(*), sum(e.amount), max(e.memo), a.rate FROM entry e
        JOIN account a ON a.id = e.account WHERE e.account BETWEEN ?1 AND ?1 + 15
        GROUP BY a.id ORDER BY a.name",
    "SELECT substr(memo, 1, 2) AS head, count(*), total(amount) FROM entry
        WHERE account % 4 = ?1 % 4 GROUP BY head ORDER BY 2 DESC, 1",
];
/// All that is there, read at the end.
const EVERYTHING: [&str; 3] = [
    "PRAGMA integrity_check",
    "SELECT * FROM account ORDER BY id",
    "SELECT * FROM entry ORDER BY id",
];

pub(crate) struct Ledger {
    /// None if the database could not be made.
    connection: Option<Connection>,
    running: [u8; DIGEST_BYTES],
    rows_read: Cell<u64>,
    errors: Cell<u64>,
    steps_done: u64,
}

impl Ledger {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut ledger = Self {
            connection: Connection::open_in_memory().ok(),
            running: [0; DIGEST_BYTES],
            rows_read: Cell::new(0),
            errors: Cell::new(0),
            steps_done: 0,
        };
        let mut stream = Xoshiro256::from_seed(seed);
        let mut link = Sha256::new();
        ledger.attempt(&mut link, |connection, _| connection.execute_batch(SCHEMA));
        for id in 0..ACCOUNTS {
            let name = word(&mut stream);
            let balance = stream.next_word() as u32;
            let rate = rate(&mut stream);
            let values = params![id as i64, name, balance, rate, note(&mut stream)];
            ledger.write(&mut link, NEW_ACCOUNT, values);
        }
        stream.mask(&mut ledger.running);
        link.update(ledger.running);
        ledger.running = link.finalize().into();
        ledger
    }

    /// Does something with the database. An error is counted, and its code enters the chain.
    fn attempt(
        &self,
        link: &mut Sha256,
        work: impl FnOnce(&Connection, &mut Sha256) -> rusqlite::Result<()>,
    ) {
        let outcome = self
            .connection
            .as_ref()
            .map(|database| work(database, link));
        let code = match outcome {
            Some(Ok(())) => return,
            Some(Err(error)) => error.sqlite_error().map_or(-1, |error| error.extended_code),
            None => -2,
        };
        self.errors.set(self.errors.get() + 1);
        link.update(code.to_le_bytes());
    }

    fn write(&self, link: &mut Sha256, statement: &str, values: impl Params) {
        self.attempt(link, |database, link| {
            let changed = database.execute(statement, values)?;
            link.update((changed as u64).to_le_bytes());
            Ok(())
        });
    }

    /// Takes every value of every row into the chain.
    fn read(&self, link: &mut Sha256, query: &str, values: impl Params) {
        self.attempt(link, |database, link| {
            let mut statement = database.prepare(query)?;
            let columns = statement.column_count();
            let mut rows = statement.query(values)?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    hash_value(link, row.get_ref(column)?);
                }
                self.rows_read.set(self.rows_read.get() + 1);
            }
            Ok(())
        });
    }

    /// The step's transaction.
    fn post(&self, link: &mut Sha256, stream: &mut Xoshiro256) {
        self.attempt(link, |database, _| database.execute_batch("BEGIN"));
        let first = self.steps_done * ENTRIES_PER_STEP;
        for id in first..first + ENTRIES_PER_STEP {
            let account = (stream.next_word() % ACCOUNTS) as i64;
            let amount = stream.next_word() as i32;
            let memo = word(stream);
            self.write(link, NEW_ENTRY, params![id as i64, account, amount, memo]);
            let change = params![account, amount, rate(stream), note(stream)];
            self.write(link, CHANGE, change);
        }
        if let Some(oldest) = (first + ENTRIES_PER_STEP).checked_sub(ENTRIES_KEPT) {
            self.write(link, FORGET, [oldest as i64]);
        }
        self.attempt(link, |database, _| database.execute_batch("COMMIT"));
    }
}

impl Kernel for Ledger {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        let mut link = Sha256::new();
        link.update(self.running);
        self.post(&mut link, &mut stream);
        for query in QUERIES {
            let argument = (stream.next_word() % ACCOUNTS) as i64;
            self.read(&mut link, query, [argument]);
        }
        self.steps_done += 1;
        if self.steps_done.is_multiple_of(VACUUM_STEPS) {
            self.attempt(&mut link, |database, _| database.execute_batch("VACUUM"));
        }
        self.running = link.finalize().into();
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.rows_read.get().to_le_bytes());
        all.update(self.errors.get().to_le_bytes());
        let rows_read = self.rows_read.get();
        for query in EVERYTHING {
            self.read(&mut all, query, []);
        }
        // What is read for the digest is no part of the computation.
        self.rows_read.set(rows_read);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("errors".to_owned(), self.errors.get() as f64),
            ("rows_read".to_owned(), self.rows_read.get() as f64),
        ]
    }
}

/// Takes a value in, with its type and length, so that no two rows look alike.
fn hash_value(link: &mut Sha256, value: ValueRef<'_>) {
    let (kind, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => (1, &number.to_le_bytes()),
        ValueRef::Real(number) => (2, &number.to_bits().to_le_bytes()),
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(bytes) => (4, bytes),
    };
    link.update([kind]);
    link.update((bytes.len() as u64).to_le_bytes());
    link.update(bytes);
}

/// A word of twelve letters.
fn word(stream: &mut Xoshiro256) -> String {
    let draw = stream.next_word();
    let letter = |index: u32| char::from(b'a' + (draw >> (5 * index) & 31) as u8 % 26);
    (0..12).map(letter).collect()
}

/// A number in [1, 2) with a random mantissa.
fn rate(stream: &mut Xoshiro256) -> f64 {
    f64::from_bits(1023 << 52 | stream.next_word() >> 12)
}

fn note(stream: &mut Xoshiro256) -> [u8; NOTE_BYTES] {
    let mut bytes = [0; NOTE_BYTES];
    stream.mask(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    fn change(ledger: &Ledger, statement: &str) {
        let changed = ledger.connection.as_ref().unwrap().execute(statement, []);
        assert_eq!(changed, Ok(1), "{statement}");
    }

    #[test]
    fn a_healthy_database_has_no_errors_and_stays_bounded() {
        let mut ledger = Ledger::new(2);
        for _ in 0..2 * ENTRIES_KEPT / ENTRIES_PER_STEP {
            ledger.step();
        }
        ledger.digest();
        assert_eq!(ledger.errors.get(), 0);
        let count = |query| {
            let database = ledger.connection.as_ref().unwrap();
            database
                .query_one(query, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert_eq!(count("SELECT count(*) FROM account"), ACCOUNTS as i64);
        let entries = count("SELECT count(*) FROM entry");
        assert!(
            (ENTRIES_KEPT as i64 - 1..=ENTRIES_KEPT as i64).contains(&entries),
            "{entries}"
        );
        assert!(count("PRAGMA page_count") < 200);
    }

    #[test]
    fn a_flipped_bit_in_a_row_changes_the_digest() {
        for statement in [
            "UPDATE account SET balance = (balance | 4096) - (balance & 4096) WHERE id = 200",
            "UPDATE account SET note = CAST(x'01' || substr(note, 2) AS BLOB) WHERE id = 0",
            "UPDATE entry SET amount = (amount | 1) - (amount & 1) WHERE id = 100",
            "UPDATE entry SET memo = 'q' || substr(memo, 2) WHERE id = 191",
        ] {
            check_flip(
                VACUUM_STEPS,
                || Ledger::new(1),
                |ledger| change(ledger, statement),
            );
        }
        check_flip(
            VACUUM_STEPS,
            || Ledger::new(1),
            |ledger| ledger.running[3] ^= 1,
        );
    }

    #[test]
    fn an_error_is_a_result() {
        let mut ledger = Ledger::new(1);
        let database = ledger.connection.as_ref().unwrap();
        database.execute_batch("DROP TABLE entry").unwrap();
        let before = ledger.running;
        ledger.step();
        assert!(ledger.errors.get() > 0);
        assert_ne!(ledger.running, before);
    }
}
