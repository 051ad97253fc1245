//! Names out of file systems that do not keep them as bytes.

/// The upper half of code page 437, which short names of FAT are in by default.
const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// UTF-16 in the order of bytes that Windows has, as UTF-8. Half a pair, which Windows allows, becomes
/// the three bytes that its number would have in UTF-8, so that different names stay different.
pub(crate) fn utf16(bytes: &[u8]) -> Vec<u8> {
    let units = bytes.chunks_exact(2).map(|unit| {
        let low = unit.first().copied().unwrap_or(0);
        let high = unit.get(1).copied().unwrap_or(0);
        u16::from_le_bytes([low, high])
    });
    let mut name = Vec::with_capacity(bytes.len());
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => {
                let mut room = [0; 4];
                name.extend_from_slice(character.encode_utf8(&mut room).as_bytes());
            }
            Err(half) => {
                let [high, low] = half.unpaired_surrogate().to_be_bytes();
                let middle = (high & 0x0f) << 2 | low >> 6;
                name.extend([0xe0 | high >> 4, 0x80 | middle, 0x80 | low & 0x3f]);
            }
        }
    }
    name
}

/// A byte of code page 437 as UTF-8.
pub(crate) fn cp437(byte: u8, name: &mut Vec<u8>) {
    let place = usize::from(byte & 0x7f);
    match CP437.chars().nth(place).filter(|_| byte >= 0x80) {
        Some(character) => {
            let mut room = [0; 4];
            name.extend_from_slice(character.encode_utf8(&mut room).as_bytes());
        }
        None => name.push(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_code_page_has_128_more() {
        assert_eq!(CP437.chars().count(), 128);
        let mut name = Vec::new();
        for byte in [b'A', 0x80, 0xe1] {
            cp437(byte, &mut name);
        }
        assert_eq!(name, "AÇß".as_bytes());
    }

    #[test]
    fn half_a_pair_stays_what_it_is() {
        assert_eq!(utf16(&[0x00, 0xd8]), [0xed, 0xa0, 0x80]);
        assert_eq!(utf16(&[0xff, 0xdf, b'x', 0]), [0xed, 0xbf, 0xbf, b'x']);
    }

    proptest! {
        #[test]
        fn names_are_what_they_were(name: String) {
            let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
            prop_assert_eq!(utf16(&units), name.as_bytes());
        }

        #[test]
        fn different_names_stay_different(one: Vec<u16>, other: Vec<u16>) {
            let bytes = |units: &[u16]| units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>();
            prop_assert_eq!(utf16(&bytes(&one)) == utf16(&bytes(&other)), one == other);
        }
    }
}
