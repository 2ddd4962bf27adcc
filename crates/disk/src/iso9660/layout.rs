//! Where everything lies, and the bytes of it.

use super::record::{Directory, LONG_DATE, SHARING};
use super::record::{attributes, both16, both32, continuation, extension, name, ucs2};

const SECTOR: usize = 2048;
const PRIMARY: usize = 16;
const JOLIET: usize = 17;
const TERMINATOR: usize = 18;
const PATHS: usize = 19;
const ROOT: usize = 23;
const CONTINUATION: usize = 24;
const JOLIET_ROOT: usize = 25;
const FILES: usize = 26;

/// Path table with the root alone (ECMA-119 9.4): 10 bytes.
const PATH_BYTES: u32 = 10;

fn number(value: usize) -> u32 {
    // Sizes and sectors are bounded by `limits::SEED_BYTES`.
    u32::try_from(value).unwrap_or(u32::MAX)
}

struct Extent<'a> {
    name: &'a str,
    content: &'a [u8],
    sector: usize,
}

/// Empty sectors at the end, as mkisofs(8) pads: readers that look for several file systems (busybox's
/// `findfs` among them) give up on a device that ends before 64 KiB.
const PAD: usize = 150;

/// The image. Names are distinct, sorted and spelled in ASCII; there are few of them.
pub(super) fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut next = FILES;
    let extents: Vec<Extent<'_>> = files
        .iter()
        .map(|(name, content)| {
            let sector = next;
            next += content.len().div_ceil(SECTOR);
            Extent {
                name,
                content,
                sector,
            }
        })
        .collect();

    let next = next + PAD;
    let mut out = vec![0u8; next * SECTOR];
    let mut put = |sector: usize, bytes: &[u8]| {
        out[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
    };
    put(PRIMARY, &descriptor(1, label.as_bytes(), ROOT, PATHS, next));
    put(
        JOLIET,
        &descriptor(2, &ucs2(label), JOLIET_ROOT, PATHS + 2, next),
    );
    put(TERMINATOR, b"\xffCD001\x01");
    for (at, root) in [(PATHS, ROOT), (PATHS + 2, JOLIET_ROOT)] {
        put(at, &path(number(root).to_le_bytes(), 1u16.to_le_bytes()));
        put(
            at + 1,
            &path(number(root).to_be_bytes(), 1u16.to_be_bytes()),
        );
    }
    put(ROOT, &primary_root(&extents));
    put(CONTINUATION, &extension());
    put(JOLIET_ROOT, &joliet_root(&extents));
    for extent in &extents {
        put(extent.sector, extent.content);
    }
    out
}

fn path(sector: [u8; 4], parent: [u8; 2]) -> Vec<u8> {
    let mut out = vec![1, 0];
    out.extend(sector);
    out.extend(parent);
    out.extend([0, 0]);
    out
}

/// Primary (8.4) or supplementary (8.5) volume descriptor.
fn descriptor(kind: u8, label: &[u8], root: usize, paths: usize, sectors: usize) -> Vec<u8> {
    let joliet = kind == 2;
    // Unused text is spaces, in the descriptor's own alphabet.
    let text = |value: &[u8], length: usize| {
        let mut field = value.to_vec();
        while field.len() < length {
            if joliet && field.len() + 1 < length {
                field.push(0);
            }
            field.push(if joliet && field.len() + 1 > length {
                0
            } else {
                b' '
            });
        }
        field.truncate(length);
        field
    };
    let mut out = vec![kind];
    out.extend(b"CD001\x01\0");
    out.extend(text(b"", 32)); // system
    out.extend(text(label, 32));
    out.extend([0; 8]);
    out.extend(both32(number(sectors)));
    let mut escapes = [0; 32];
    if joliet {
        escapes[..3].copy_from_slice(b"%/E"); // UCS-2 level 3
    }
    out.extend(escapes);
    out.extend(both16(1));
    out.extend(both16(1));
    out.extend(both16(2048));
    out.extend(both32(PATH_BYTES));
    out.extend(number(paths).to_le_bytes());
    out.extend([0; 4]);
    out.extend(number(paths + 1).to_be_bytes());
    out.extend([0; 4]);
    out.extend(directory(b"\0", root, &[]));
    out.extend(text(b"", 4 * 128)); // volume set, publisher, preparer, application
    out.extend(text(b"", 3 * 37)); // copyright, abstract, bibliographic files
    out.extend(LONG_DATE); // created
    out.extend(LONG_DATE); // modified
    out.extend(b"0000000000000000\0"); // never expires
    out.extend(LONG_DATE); // effective
    out.extend([1, 0]);
    out.resize(SECTOR, 0);
    out
}

fn directory(name: &[u8], sector: usize, system_use: &[u8]) -> Vec<u8> {
    Directory {
        name,
        sector: number(sector),
        bytes: number(SECTOR),
        is_directory: true,
        system_use,
    }
    .bytes()
}

fn primary_root(extents: &[Extent<'_>]) -> Vec<u8> {
    let mut own = SHARING.to_vec();
    own.extend(attributes(true));
    own.extend(continuation(
        number(CONTINUATION),
        number(extension().len()),
    ));
    let mut out = directory(b"\0", ROOT, &own);
    out.extend(directory(b"\x01", ROOT, &attributes(true)));
    let mut records: Vec<(String, &Extent<'_>)> =
        short_names(extents).into_iter().zip(extents).collect();
    records.sort_by(|a, b| a.0.cmp(&b.0));
    for (short, extent) in records {
        let mut system_use = attributes(false);
        system_use.extend(name(extent.name));
        out.extend(file(short.as_bytes(), extent, &system_use));
    }
    out
}

fn joliet_root(extents: &[Extent<'_>]) -> Vec<u8> {
    let mut out = directory(b"\0", JOLIET_ROOT, &[]);
    out.extend(directory(b"\x01", JOLIET_ROOT, &[]));
    for extent in extents {
        out.extend(file(&ucs2(extent.name), extent, &[]));
    }
    out
}

fn file(name: &[u8], extent: &Extent<'_>, system_use: &[u8]) -> Vec<u8> {
    Directory {
        name,
        sector: number(extent.sector),
        bytes: number(extent.content.len()),
        is_directory: false,
        system_use,
    }
    .bytes()
}

/// Names of interchange level 1: eight characters, made distinct by a trailing digit.
fn short_names(extents: &[Extent<'_>]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::new();
    for extent in extents {
        let base: String = extent
            .name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .take(8)
            .collect();
        let numbered = (1..).map(|n| format!("{}{n}.;1", &base[..base.len().min(7)]));
        let unique = std::iter::once(format!("{base}.;1"))
            .chain(numbered)
            .find(|candidate| !taken.contains(candidate));
        taken.push(unique.unwrap_or(base));
    }
    taken
}
