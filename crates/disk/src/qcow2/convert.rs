//! One ascending pass over the image's data into a sparse disk.

use std::io::Read;

use super::map::{Map, Mapping, span};
use super::{Compression, Header, Qcow2Error};
use crate::{ReadAt, SparseWriter, limits};

/// Writes the virtual disk of `image` into `disk`, which is fresh and as large as the virtual disk.
///
/// `progress` is called with the number of bytes of the virtual disk that are settled.
///
/// # Errors
/// When the image is corrupt or truncated, or reading or writing fails.
pub fn convert(
    header: Header,
    image: &mut dyn ReadAt,
    disk: &mut SparseWriter,
    progress: &mut dyn FnMut(u64),
) -> Result<(), Qcow2Error> {
    let mut map = Map::read(header, image)?;
    let mut decoder = Decoder::new(header);
    let mut buffer = Buffer::default();
    let mut settled = 0;
    loop {
        let window = map.window(image)?;
        if window.is_empty() {
            progress(header.virtual_size);
            return Ok(());
        }
        image.will_read(span(&window));
        for group in groups(&window) {
            let range = span(group);
            buffer.fill(image, range.start, range.end)?;
            for mapping in group {
                let data = buffer.get(mapping, header.cluster_size())?;
                if mapping.compressed {
                    let cluster = decoder.cluster(data, mapping)?;
                    let left = header.virtual_size - mapping.guest;
                    let length =
                        usize::try_from(left).map_or(cluster.len(), |l| l.min(cluster.len()));
                    disk.write_at(mapping.guest, &cluster[..length])?;
                    settled += length as u64;
                } else {
                    disk.write_at(mapping.guest, data)?;
                    settled += data.len() as u64;
                }
            }
            progress(settled);
        }
    }
}

/// Cuts sorted mappings into groups that are read at once: near one another, bounded in size.
fn groups(window: &[Mapping]) -> impl Iterator<Item = &[Mapping]> {
    let mut rest = window;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let (start, mut end) = (first.host, first.host + u64::from(first.length));
        let mut count = 1;
        for next in &rest[1..] {
            let next_end = end.max(next.host + u64::from(next.length));
            if next.host > end + limits::READ_GAP || next_end - start > limits::READ_BYTES as u64 {
                break;
            }
            end = next_end;
            count += 1;
        }
        let (group, left) = rest.split_at(count);
        rest = left;
        Some(group)
    })
}

/// A stretch of the image in memory. Compressed clusters share sectors, so the next stretch may
/// begin inside this one: that part is kept, and the source sees ascending reads.
#[derive(Debug, Default)]
struct Buffer {
    start: u64,
    data: Vec<u8>,
    /// Bytes of `data` the image really has.
    present: usize,
}

impl Buffer {
    fn fill(&mut self, image: &mut dyn ReadAt, start: u64, end: u64) -> Result<(), Qcow2Error> {
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let old_end = self.start + self.present as u64;
        let mut kept = 0;
        if start >= self.start && start < old_end {
            let from = usize::try_from(start - self.start).unwrap_or(usize::MAX);
            self.data.copy_within(from..self.present, 0);
            kept = (self.present - from).min(length);
        }
        self.data.resize(length, 0);
        let offset = start + kept as u64;
        let got = image
            .read_at(offset, &mut self.data[kept..])
            .map_err(|source| Qcow2Error::Read { offset, source })?;
        self.start = start;
        self.present = kept + got;
        // The image may end within its last cluster: the rest of that reads as zeros.
        self.data[self.present..].fill(0);
        Ok(())
    }

    fn get(&self, mapping: &Mapping, cluster: u64) -> Result<&[u8], Qcow2Error> {
        let from = usize::try_from(mapping.host - self.start).unwrap_or(usize::MAX);
        // What begins in the last cluster of a joined mapping may end early; more may not be missing.
        let required = u64::from(mapping.length).saturating_sub(cluster);
        let required = from + usize::try_from(required).unwrap_or(usize::MAX);
        if required >= self.present {
            return Err(Qcow2Error::Truncated {
                what: "a cluster",
                offset: mapping.host,
            });
        }
        Ok(&self.data[from..from + mapping.length as usize])
    }
}

/// Decompresses clusters into one reused buffer.
struct Decoder {
    compression: Compression,
    cluster: Vec<u8>,
    deflate: flate2::Decompress,
}

impl Decoder {
    fn new(header: Header) -> Self {
        let size = usize::try_from(header.cluster_size()).unwrap_or(usize::MAX);
        Self {
            compression: header.compression,
            cluster: vec![0; size],
            deflate: flate2::Decompress::new(false),
        }
    }

    fn cluster(&mut self, data: &[u8], mapping: &Mapping) -> Result<&[u8], Qcow2Error> {
        let corrupt = |why: String| {
            Qcow2Error::Corrupt(format!(
                "the compressed cluster at byte {}: {why}",
                mapping.host
            ))
        };
        match self.compression {
            Compression::Zlib => {
                self.deflate.reset(false);
                self.deflate
                    .decompress(data, &mut self.cluster, flate2::FlushDecompress::Finish)
                    .map_err(|error| corrupt(error.to_string()))?;
                if self.deflate.total_out() < self.cluster.len() as u64 {
                    return Err(corrupt("ends early".to_owned()));
                }
            }
            Compression::Zstd => {
                // What follows the frame up to the sector's end is not of this cluster.
                zstd::stream::read::Decoder::with_buffer(data)
                    .and_then(|mut decoder| {
                        decoder.window_log_max(limits::ZSTD_WINDOW_LOG)?;
                        decoder.single_frame().read_exact(&mut self.cluster)
                    })
                    .map_err(|error| corrupt(error.to_string()))?;
            }
        }
        Ok(&self.cluster)
    }
}
