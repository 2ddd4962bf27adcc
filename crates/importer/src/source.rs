//! The file that is imported: reading it in order, and judging its beginning.

use std::io;

use bytes::{Bytes, BytesMut};
use disk::{Format, probe};
use tokio::io::{AsyncRead, AsyncReadExt};
use transfer::{Download, Encoding, RunningDigest};

use crate::ImportError;
use crate::error::transfer_error;

/// A file being read in order, decompressed.
pub(crate) struct Source {
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What was read of it to look at.
    pub head: Bytes,
    pub encoding: Encoding,
    pub url: String,
    pub digest: RunningDigest,
}

impl Source {
    /// A file that is not compressed, of which `head` was read.
    pub fn plain(download: Download, head: Bytes) -> Self {
        let (url, digest) = (download.name(), download.digest());
        let reader = Box::new(download.into_reader());
        Self {
            reader,
            head,
            encoding: Encoding::Identity,
            url,
            digest,
        }
    }

    /// The next `length` bytes; fewer only at the end.
    pub async fn block(&mut self, length: usize) -> Result<Bytes, ImportError> {
        let mut block = BytesMut::with_capacity(length);
        while block.len() < length {
            match self.reader.read_buf(&mut block).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(block.freeze())
    }

    /// What went wrong while reading: the transfer, or the decoder.
    pub fn error(&self, error: io::Error) -> ImportError {
        match transfer_error(error) {
            Ok(error) => ImportError::Transfer(error),
            Err(source) => {
                let (url, encoding) = (self.url.clone(), self.encoding);
                ImportError::Decode {
                    url,
                    encoding,
                    source,
                }
            }
        }
    }
}

/// The format of an image that begins with `head`, if it is one that is imported.
pub(crate) fn accept(head: &[u8], url: &str) -> Result<Format, ImportError> {
    let url = url.to_owned();
    match probe(head) {
        Format::Raw if is_web_page(head) => Err(ImportError::WebPage { url }),
        format if format.is_plain() || format == Format::Qcow2 => Ok(format),
        format => Err(ImportError::Format { url, format }),
    }
}

/// Servers answer 200 with a page for what they do not have.
fn is_web_page(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    ["<!doctype html", "<html"].iter().any(|mark| {
        text.get(..mark.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(mark.as_bytes()))
    })
}
