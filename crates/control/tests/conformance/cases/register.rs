//! Registers by name.

use crate::provider::{Provider, REGISTER, number};
use anyhow::{Context, ensure};
use hypervisor::{HypervisorError, RegisterSet};

pub(crate) async fn registers_have_lower_case_names_and_hexadecimal_values(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let registers = replica.registers().await?;
    for name in registers.keys() {
        ensure!(!name.is_empty() && *name == name.to_ascii_lowercase());
    }
    for name in ["rip", "rsp", REGISTER] {
        number(&registers, name)?;
        ensure!(registers[name].len() == 16, "{}", registers[name]);
    }
    // Asking changes nothing.
    ensure!(replica.registers().await? == registers);
    Ok(())
}

pub(crate) async fn a_flipped_register_holds_the_flipped_bit(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let before = replica.registers().await?;
    let (told_before, told_after) = replica.flip_register(REGISTER, 5).await?;
    let after = replica.registers().await?;
    let value = |text: &str| u64::from_str_radix(text, 16);
    ensure!(value(&told_before)? ^ value(&told_after)? == 1 << 5);
    ensure!(number(&before, REGISTER)? == value(&told_before)?);
    ensure!(number(&after, REGISTER)? == value(&told_after)?);
    let others = |registers: &RegisterSet| {
        let mut others = registers.clone();
        others.remove(REGISTER);
        others
    };
    ensure!(others(&before) == others(&after));
    Ok(())
}

pub(crate) async fn a_register_that_there_is_not_is_refused_with_those_there_are(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let before = replica.registers().await?;
    let unknown = replica.flip_register("rbz", 0).await;
    let error = unknown.err().context("rbz was flipped")?;
    let HypervisorError::UnknownRegister { name, known } = &error else {
        anyhow::bail!("{error}");
    };
    ensure!(name.contains("rbz") && known.contains(REGISTER), "{error}");
    ensure!(replica.flip_register(REGISTER, 64).await.is_err());
    ensure!(replica.flip_register(REGISTER, u32::MAX).await.is_err());
    ensure!(replica.registers().await? == before);
    Ok(())
}

pub(crate) async fn every_register_that_is_listed_takes_its_bits_and_no_more(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let listed = replica.writable_registers().await?;
    ensure!(listed.contains(&(REGISTER.to_owned(), 64)), "{listed:?}");
    for (name, bits) in listed {
        ensure!(bits > 0, "{name} has no bits");
        let last = bits - 1;
        let (before, after) = replica.flip_register(&name, last).await?;
        let (digit, mask) = (last as usize / 4, 1 << (last % 4));
        let digit_of = |text: &str| {
            let digit = text.chars().rev().nth(digit);
            digit.and_then(|digit| digit.to_digit(16))
        };
        let (was, is) = (digit_of(&before), digit_of(&after));
        ensure!(
            was.is_some() && was.map(|was| was ^ mask) == is,
            "{name}: {before}, {after}"
        );
        ensure!(replica.flip_register(&name, bits).await.is_err(), "{name}");
    }
    Ok(())
}
