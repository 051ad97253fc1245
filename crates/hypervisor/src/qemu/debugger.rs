//! The debugger stub: registers by name and memory that takes effect on code.
//!
//! A client of the GDB remote serial protocol (GDB manual, appendix E), as much of it as QEMU's
//! stub needs: `qXfer:features:read` for the names, `p`/`P` for one register, `M` for memory,
//! `Z0`/`z0` for breakpoints, and QEMU's own `Qqemu.PhyMemMode` for guest-physical addresses. The
//! stub is opened on demand on a
//! socket in the domain's private directory and stays connected, since a detach would let the
//! guest run.

use crate::error::HypervisorError;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The longest packet that is taken: QEMU's register description is below 64 KiB.
const MAX_PACKET_BYTES: usize = 1 << 20;

/// How long the stub may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of memory in one packet: QEMU's stub drops packets of more than 4096 characters without an
/// answer, and a byte takes two.
const BYTES_AT_ONCE: usize = 512;

/// A register as the stub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Register {
    /// Its name, lower case.
    pub(super) name: String,
    /// Its number in `p` and `P` packets.
    pub(super) number: u32,
    /// Its width.
    pub(super) bits: u32,
}

/// A connection to the stub.
#[derive(Debug)]
pub(super) struct Debugger {
    stream: UnixStream,
    registers: Vec<Register>,
}

impl Debugger {
    /// Connects and asks which registers there are.
    pub(super) async fn connect(socket: &Path) -> Result<Self, HypervisorError> {
        let stream = UnixStream::connect(socket)
            .await
            .map_err(HypervisorError::file("connect to", socket))?;
        let mut debugger = Self {
            stream,
            registers: Vec::new(),
        };
        debugger
            .ask("qSupported:xmlRegisters=i386;qXfer:features:read+")
            .await?;
        debugger.registers = debugger.describe().await?;
        Ok(debugger)
    }

    /// The registers that can be written.
    pub(super) fn registers(&self) -> &[Register] {
        &self.registers
    }

    /// Makes a vCPU the one whose registers and address space are meant. The first is unless another
    /// was chosen. The stub counts them from 1.
    pub(super) async fn choose(&mut self, vcpu: u32) -> Result<(), HypervisorError> {
        self.expect_ok(&format!("Hg{:x}", vcpu.saturating_add(1)))
            .await
    }

    /// Flips one bit of a register and returns its value before and after.
    pub(super) async fn flip(
        &mut self,
        name: &str,
        bit: u32,
    ) -> Result<(String, String), HypervisorError> {
        let register = self.find(name)?;
        if bit >= register.bits {
            return Err(HypervisorError::UnknownRegister {
                name: format!("{name} bit {bit}"),
                known: format!("{name} has bits 0 to {}", register.bits - 1),
            });
        }
        let packet = format!("p{:x}", register.number);
        let answer = self.ask(&packet).await?;
        let before = decode(&packet, &answer)?;
        let mut after = before.clone();
        let (byte, mask) = ((bit / 8) as usize, 1_u8 << (bit % 8));
        match after.get_mut(byte) {
            Some(byte) => *byte ^= mask,
            None => return Err(refused(&packet, "the register is shorter than described")),
        }
        let packet = format!("P{:x}={}", register.number, encode(&after));
        self.expect_ok(&packet).await?;
        Ok((
            most_significant_first(before),
            most_significant_first(after),
        ))
    }

    /// The value of a register of at most 64 bits.
    pub(super) async fn value(&mut self, name: &str) -> Result<u64, HypervisorError> {
        let packet = format!("p{:x}", self.find(name)?.number);
        let answer = self.ask(&packet).await?;
        let bytes = decode(&packet, &answer)?;
        Ok(bytes
            .iter()
            .take(8)
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Writes memory at an address that the guest's processor uses now.
    pub(super) async fn write_virtual(
        &mut self,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        let parts = bytes.chunks(BYTES_AT_ONCE);
        for (start, part) in (address..).step_by(BYTES_AT_ONCE).zip(parts) {
            let packet = format!("M{start:x},{:x}:{}", part.len(), encode(part));
            self.expect_ok(&packet).await?;
        }
        Ok(())
    }

    /// Writes guest-physical memory.
    pub(super) async fn write_physical(
        &mut self,
        address: u64,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        self.expect_ok("Qqemu.PhyMemMode:1").await?;
        let written = self.write_virtual(address, bytes).await;
        self.expect_ok("Qqemu.PhyMemMode:0").await?;
        written
    }

    /// Stops the guest before it executes the instruction at an address.
    pub(super) async fn set_breakpoint(&mut self, address: u64) -> Result<(), HypervisorError> {
        self.expect_ok(&format!("Z0,{address:x},1")).await
    }

    /// Lets the guest pass an address again.
    pub(super) async fn clear_breakpoint(&mut self, address: u64) -> Result<(), HypervisorError> {
        self.expect_ok(&format!("z0,{address:x},1")).await
    }

    fn find(&self, name: &str) -> Result<Register, HypervisorError> {
        self.registers
            .iter()
            .find(|register| register.name == name)
            .cloned()
            .ok_or_else(|| HypervisorError::UnknownRegister {
                name: name.to_owned(),
                known: self
                    .registers
                    .iter()
                    .map(|register| register.name.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
            })
    }

    /// Reads the description of the target and of the files that it includes.
    async fn describe(&mut self) -> Result<Vec<Register>, HypervisorError> {
        const MAX_INCLUDED_FILES: usize = 16;
        let target = self.read_feature("target.xml").await?;
        let mut registers = Vec::new();
        add_registers(&target, &mut registers);
        for file in attributes(&target, "<xi:include", "href").take(MAX_INCLUDED_FILES) {
            let text = self.read_feature(&file).await?;
            add_registers(&text, &mut registers);
        }
        if let Some(last) = registers.last() {
            let answer = self.ask(&format!("p{:x}", last.number)).await?;
            if answer.starts_with(b"E") {
                registers = without_unnumbered(registers);
            }
        }
        Ok(registers)
    }

    async fn read_feature(&mut self, file: &str) -> Result<String, HypervisorError> {
        let mut text = String::new();
        loop {
            let packet = format!("qXfer:features:read:{file}:{:x},800", text.len());
            let answer = self.ask(&packet).await?;
            let (more, part) = match answer.split_first() {
                Some((b'm', part)) => (true, part),
                Some((b'l', part)) => (false, part),
                _ => return Err(refused(&packet, &String::from_utf8_lossy(&answer))),
            };
            text.push_str(&String::from_utf8_lossy(part));
            if !more || text.len() > MAX_PACKET_BYTES {
                return Ok(text);
            }
        }
    }

    async fn expect_ok(&mut self, packet: &str) -> Result<(), HypervisorError> {
        let answer = self.ask(packet).await?;
        if answer == b"OK" {
            Ok(())
        } else {
            Err(refused(packet, &String::from_utf8_lossy(&answer)))
        }
    }

    /// Sends a packet and returns the answer's content. What the stub says by itself, that the
    /// guest has stopped, is passed over: the monitor says it too.
    async fn ask(&mut self, packet: &str) -> Result<Vec<u8>, HypervisorError> {
        let framed = frame(packet.as_bytes());
        let exchanged = timeout(ANSWER_DEADLINE, async {
            self.stream.write_all(&framed).await?;
            loop {
                let answer = self.read_packet().await?;
                if !matches!(answer.first(), Some(b'T' | b'S' | b'W' | b'X')) {
                    return Ok::<_, std::io::Error>(answer);
                }
            }
        })
        .await;
        match exchanged {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refused(packet, &error.to_string())),
            Err(_) => Err(HypervisorError::Deadline {
                what: format!("the debugger stub's answer to {}", shown(packet)),
                after: ANSWER_DEADLINE,
            }),
        }
    }

    /// Reads `$content#checksum`, acknowledges it, and passes over what lies before it.
    async fn read_packet(&mut self) -> std::io::Result<Vec<u8>> {
        while self.stream.read_u8().await? != b'$' {}
        let mut content = Vec::new();
        loop {
            match self.stream.read_u8().await? {
                b'#' => break,
                b'}' => content.push(self.stream.read_u8().await? ^ 0x20),
                byte => content.push(byte),
            }
            if content.len() > MAX_PACKET_BYTES {
                return Err(std::io::Error::other("a packet without an end"));
            }
        }
        self.stream.read_u16().await?;
        self.stream.write_all(b"+").await?;
        Ok(content)
    }
}

fn refused(packet: &str, detail: &str) -> HypervisorError {
    HypervisorError::Debugger {
        packet: shown(packet),
        detail: detail.chars().take(80).collect(),
    }
}

/// As much of a packet as an error shows.
fn shown(packet: &str) -> String {
    packet.chars().take(40).collect()
}

/// `$content#` and two hexadecimal digits of the sum of its bytes modulo 256.
fn frame(content: &[u8]) -> Vec<u8> {
    let sum = content
        .iter()
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let mut framed = vec![b'$'];
    framed.extend_from_slice(content);
    framed.extend_from_slice(format!("#{sum:02x}").as_bytes());
    framed
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode(packet: &str, answer: &[u8]) -> Result<Vec<u8>, HypervisorError> {
    let wrong = || refused(packet, &String::from_utf8_lossy(answer));
    let text = std::str::from_utf8(answer).map_err(|_| wrong())?;
    if text.is_empty() || text.len() % 2 != 0 || text.starts_with('E') {
        return Err(wrong());
    }
    (0..text.len() / 2)
        .map(|index| text.get(index * 2..index * 2 + 2))
        .map(|digits| u8::from_str_radix(digits.unwrap_or("x"), 16).map_err(|_| wrong()))
        .collect()
}

fn most_significant_first(mut bytes: Vec<u8>) -> String {
    bytes.reverse();
    encode(&bytes)
}

/// Adds the `<reg name="…" bitsize="…" [regnum="…"]>` elements of a description, numbered in order.
fn add_registers(text: &str, registers: &mut Vec<Register>) {
    for element in text.split("<reg ").skip(1) {
        let element = element.split('>').next().unwrap_or_default();
        let number = attribute(element, "regnum").and_then(|number| number.parse().ok());
        let next = registers
            .last()
            .map_or(0, |last: &Register| last.number + 1);
        let bits = attribute(element, "bitsize").and_then(|bits| bits.parse().ok());
        if let (Some(name), Some(bits)) = (attribute(element, "name"), bits) {
            registers.push(Register {
                name: name.to_ascii_lowercase(),
                number: number.unwrap_or(next),
                bits,
            });
        }
    }
}

/// QEMU 10 describes the bases of three segments to which its stub gives no number, so that all
/// numbers behind them are too high.
fn without_unnumbered(registers: Vec<Register>) -> Vec<Register> {
    const UNNUMBERED: [&str; 3] = ["ss_base", "ds_base", "es_base"];
    registers
        .into_iter()
        .filter(|register| !UNNUMBERED.contains(&register.name.as_str()))
        .zip(0..)
        .map(|(register, number)| Register { number, ..register })
        .collect()
}

fn attributes(text: &str, element: &str, name: &str) -> impl Iterator<Item = String> {
    let values: Vec<String> = text
        .split(element)
        .skip(1)
        .filter_map(|rest| attribute(rest.split('>').next()?, name))
        .collect();
    values.into_iter()
}

fn attribute(element: &str, name: &str) -> Option<String> {
    let (_, rest) = element.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_carry_their_checksum() {
        assert_eq!(frame(b"OK"), b"$OK#9a");
    }

    #[test]
    fn registers_are_numbered_in_order_unless_told() {
        let mut registers = Vec::new();
        add_registers(
            r#"<reg name="rax" bitsize="64"/><reg name="RBX" bitsize="64" regnum="7"/><reg name="eflags" bitsize="32"/>"#,
            &mut registers,
        );
        let numbers: Vec<u32> = registers.iter().map(|register| register.number).collect();
        assert_eq!(numbers, [0, 7, 8]);
        assert_eq!(registers[1].name, "rbx");
    }

    #[test]
    fn what_has_no_number_is_left_out() {
        let register = |name: &str, number| Register {
            name: name.to_owned(),
            number,
            bits: 64,
        };
        let described = vec![
            register("gs", 0),
            register("ss_base", 1),
            register("fs_base", 2),
        ];
        let numbered = without_unnumbered(described);
        assert_eq!(numbered, [register("gs", 0), register("fs_base", 1)]);
    }

    #[test]
    fn values_are_read_as_bytes() {
        assert_eq!(decode("p0", b"01ff").unwrap(), [1, 255]);
        assert!(decode("p0", b"E14").is_err());
        assert!(decode("p0", b"0").is_err());
        assert!(decode("p0", "é".as_bytes()).is_err());
        assert_eq!(most_significant_first(vec![1, 0]), "0001");
    }
}
