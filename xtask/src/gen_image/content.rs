//! What files hold: each type with its real container, so that those who look at content find what
//! they would find on a real disk.

use super::draw::Draw;

/// A type of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Csv,
    Markdown,
    Docx,
    Png,
    Jpeg,
    Pdf,
    Gzip,
    Log,
    Program,
}

/// Types of files of users, with the share of each in a hundred.
pub(crate) const USERS: [(Kind, usize); 8] = [
    (Kind::Text, 22),
    (Kind::Csv, 14),
    (Kind::Docx, 20),
    (Kind::Png, 8),
    (Kind::Jpeg, 12),
    (Kind::Pdf, 14),
    (Kind::Gzip, 5),
    (Kind::Markdown, 5),
];

const WORDS: [&str; 32] = [
    "account", "and", "as", "before", "budget", "change", "client", "day", "delivery", "first",
    "for", "in", "is", "last", "market", "meeting", "month", "not", "of", "office", "on", "order",
    "plan", "project", "report", "result", "team", "the", "to", "week", "with", "year",
];

impl Kind {
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Csv => "csv",
            Self::Markdown => "md",
            Self::Docx => "docx",
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Pdf => "pdf",
            Self::Gzip => "gz",
            Self::Log => "log",
            Self::Program => "so",
        }
    }

    /// A file of this type with about `bytes` bytes.
    pub(crate) fn make(self, bytes: usize, draw: &mut Draw) -> Vec<u8> {
        match self {
            Self::Text => prose(bytes, draw, ""),
            Self::Markdown => prose(bytes, draw, "# "),
            Self::Csv => table(bytes, draw),
            Self::Log => lines(bytes, draw),
            Self::Docx => archive(bytes, draw),
            Self::Png => picture(bytes, draw),
            Self::Jpeg => photograph(bytes, draw),
            Self::Pdf => document(bytes, draw),
            Self::Gzip => gzip(bytes, draw),
            Self::Program => program(bytes, draw),
        }
    }
}

fn prose(bytes: usize, draw: &mut Draw, heading: &str) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 80);
    text.push_str(heading);
    while text.len() < bytes {
        text.push_str(draw.one(&WORDS));
        text.push(if draw.below(12) == 0 { '\n' } else { ' ' });
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn table(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let mut text = "id,name,amount,day\n".to_owned();
    let mut row = 0;
    while text.len() < bytes {
        row += 1;
        let (name, amount, day) = (draw.one(&WORDS), draw.below(100_000), draw.below(365));
        text.push_str(&format!("{row},{name},{amount},{day}\n"));
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// A line of a log has its time and something to say.
fn lines(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 80);
    let mut second = 1_700_000_000u64;
    while text.len() < bytes {
        second += draw.below(60) as u64;
        let (process, word) = (draw.below(30_000), draw.one(&WORDS));
        text.push_str(&format!("{second} host service[{process}]: {word} done\n"));
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(bytes, 1)
}

/// A ZIP archive, as office documents are: two parts, with their directory.
fn archive(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let media = draw.bytes(bytes.saturating_sub(bytes / 5 + 300));
    let parts = [
        (
            "word/document.xml",
            8u16,
            prose(bytes / 2, draw, "<w:document>"),
        ),
        ("word/media/image1.bin", 0, media),
    ];
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, method, content) in parts {
        let stored = match method {
            8 => deflated(&content),
            _ => content.clone(),
        };
        let mut common = Vec::new();
        common.extend([20, 0, 0, 0]);
        common.extend(method.to_le_bytes());
        common.extend([0, 0, 0x21, 0x58]);
        common.extend(crc32fast::hash(&content).to_le_bytes());
        common.extend((stored.len() as u32).to_le_bytes());
        common.extend((content.len() as u32).to_le_bytes());
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        let at = file.len() as u32;
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.as_bytes());
        file.extend(stored);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(at.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (at, length) = (file.len() as u32, directory.len() as u32);
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
    file.extend(length.to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0, 0]);
    file
}

fn picture(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        file.extend((data.len() as u32).to_be_bytes());
        let body = [kind.as_slice(), data].concat();
        file.extend(&body);
        file.extend(crc32fast::hash(&body).to_be_bytes());
    };
    // Rows of 1,024 grey points, each with its filter.
    let rows = (bytes / 1025).max(1);
    let mut header = [1024u32.to_be_bytes(), (rows as u32).to_be_bytes()].concat();
    header.extend([8, 0, 0, 0, 0]);
    chunk(b"IHDR", &header);
    let points = (0..rows).flat_map(|_| [vec![0], draw.bytes(1024)].concat());
    let points: Vec<u8> = points.collect();
    chunk(
        b"IDAT",
        &miniz_oxide::deflate::compress_to_vec_zlib(&points, 1),
    );
    chunk(b"IEND", &[]);
    file
}

/// The head of a JPEG, and what looks like its compressed points.
fn photograph(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let mut file = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec();
    file.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0");
    let points = draw.bytes(bytes.saturating_sub(file.len() + 2));
    // After ff comes a zero, or it would be a mark.
    file.extend(points.into_iter().map(|byte| byte.min(0xfe)));
    file.extend(b"\xff\xd9");
    file
}

fn document(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let stream = deflated(&prose(bytes * 2, draw, "BT "));
    let mut file = b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n".to_vec();
    let head = format!(
        "3 0 obj\n<</Length {}/Filter/FlateDecode>>\nstream\n",
        stream.len()
    );
    file.extend(head.into_bytes());
    file.extend(stream);
    file.extend(b"\nendstream\nendobj\ntrailer<</Root 1 0 R>>\n%%EOF\n");
    file
}

fn gzip(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let content = lines(bytes * 4, draw);
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    file.extend(deflated(&content));
    file.extend(crc32fast::hash(&content).to_le_bytes());
    file.extend((content.len() as u32).to_le_bytes());
    file
}

/// The head of an ELF file; then instructions and tables, which repeat, and some that do not.
fn program(bytes: usize, draw: &mut Draw) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    let pieces: Vec<Vec<u8>> = (0..16).map(|_| draw.bytes(24)).collect();
    while file.len() < bytes {
        let piece = &pieces[draw.below(pieces.len())];
        file.extend(piece);
        file.extend(draw.next().to_le_bytes());
    }
    file.truncate(bytes);
    file
}
