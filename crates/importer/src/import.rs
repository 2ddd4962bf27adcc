//! The import: looks at the beginning of the file, chooses a way, goes it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use disk::qcow2::{self, Header};
use disk::{Format, PROBE_BYTES, Partial, ReadAt, SparseWriter};
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tracing::info;
use transfer::{Download, Encoding, Endpoint, Ranged, TransferError, decode};

use crate::ImportError;
use crate::progress::{Meter, Phase, Progress};
use crate::raw::{CopyError, Filling};
use crate::remote::{Abandoned, RemoteImage};
use crate::request::{ImportRequest, Imported, Method};
use crate::scratch::{Scratch, ScratchImage};
use crate::source::{Source, accept};

/// How often progress is reported.
const REPORT: Duration = Duration::from_millis(500);
/// Whole imports begun anew because the server cannot resume or its file changed.
const RESTARTS: u32 = 2;
/// QEMU wants whole sectors.
const SECTOR: u64 = 512;
/// What a scratch file may have beside the virtual disk: tables, and clusters written twice.
const SCRATCH_SLACK: u64 = 64 << 20;

/// Makes an empty sparse disk.
///
/// # Errors
/// When the volume refuses. A disk that is there already is grown, never overwritten.
pub fn blank(target: &Path, capacity: u64) -> Result<Imported, ImportError> {
    let begun = Instant::now();
    let size = capacity - capacity % SECTOR;
    if target.exists() {
        disk::file::grow(target, size)?;
    } else {
        disk::file::create_raw(target, size)?;
    }
    Ok(Imported {
        virtual_size: size,
        size,
        bytes_read: 0,
        bytes_written: 0,
        sha256: None,
        format: "blank".to_owned(),
        encoding: Encoding::Identity.to_string(),
        method: Method::Blank,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Fills a disk from a URL, reporting to `report` about twice a second.
///
/// # Errors
/// With words for the owner of the DataVolume; nothing is left on the volume then.
pub async fn import(
    request: &ImportRequest,
    report: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Imported, ImportError> {
    let begun = Instant::now();
    let endpoint = Arc::new(Endpoint::new(&request.source)?);
    let meter = Meter::new(endpoint.received());
    let work = restarting(request, endpoint, &meter);
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(REPORT);
    let mut imported = loop {
        tokio::select! {
            done = &mut work => break done?,
            _ = ticks.tick() => report(meter.read()),
        }
    };
    meter.phase(Phase::Complete);
    report(meter.read());
    imported.bytes_read = meter.received();
    imported.seconds = begun.elapsed().as_secs_f64();
    Ok(imported)
}

/// Begins anew where the bytes so far are worth nothing but the next attempt may succeed.
async fn restarting(
    request: &ImportRequest,
    endpoint: Arc<Endpoint>,
    meter: &Meter,
) -> Result<Imported, ImportError> {
    let mut restarts = 0;
    loop {
        let job = Job {
            request,
            meter,
            abandoned: Abandoned::default(),
        };
        let _abandon = job.abandoned.guard();
        match job.run(endpoint.clone()).await {
            Err(ImportError::Transfer(
                error @ (TransferError::NotResumable { .. } | TransferError::Changed { .. }),
            )) if restarts < RESTARTS => {
                restarts += 1;
                info!(
                    restarts,
                    "{}; beginning anew",
                    ImportError::from(error).message()
                );
                tokio::time::sleep(request.source.limits.pause(restarts)).await;
            }
            done => return done,
        }
    }
}

struct Job<'a> {
    request: &'a ImportRequest,
    meter: &'a Meter,
    abandoned: Abandoned,
}

impl Job<'_> {
    async fn run(&self, endpoint: Arc<Endpoint>) -> Result<Imported, ImportError> {
        self.meter.phase(Phase::Connecting);
        let mut download = Download::open(endpoint).await?;
        let url = download.name();
        self.meter.total(download.about().total);
        let head = download.fill(PROBE_BYTES).await?;
        let encoding = Encoding::of(&head);
        if !encoding.is_supported() {
            return Err(ImportError::Encoding { url, encoding });
        }
        info!(%url, %encoding, about = ?download.about(), "source found");
        if encoding == Encoding::Identity {
            let format = accept(&head, &url)?;
            if format == Format::Qcow2 {
                return self.qcow2(download, head).await;
            }
            if let Some(total) = download.about().total {
                self.fits(total, true)?;
            }
            return self.stream(Source::plain(download, head), format).await;
        }
        download.unread(head);
        let digest = download.digest();
        let memory = self.request.source.limits.decoder_memory;
        let mut file = Source {
            reader: decode(encoding, download.into_reader(), memory),
            head: Bytes::new(),
            encoding,
            url,
            digest,
        };
        file.head = file.block(PROBE_BYTES).await?;
        let format = accept(&file.head, &file.url)?;
        if format == Format::Qcow2 {
            self.fits(Header::parse(&file.head)?.virtual_size, true)?;
            return self.scratch(file).await;
        }
        self.stream(file, format).await
    }

    /// Whether a virtual disk of `size` bytes fits the claim.
    fn fits(&self, size: u64, exact: bool) -> Result<(), ImportError> {
        match self.request.capacity {
            Some(capacity) if size > capacity => Err(ImportError::TooSmall {
                virtual_size: size,
                exact,
                capacity,
            }),
            _ => Ok(()),
        }
    }

    /// Size of the finished disk: the claim's, in whole sectors.
    fn size(&self, virtual_size: u64) -> u64 {
        let whole = virtual_size.next_multiple_of(SECTOR);
        self.request
            .capacity
            .map_or(whole, |capacity| whole.max(capacity - capacity % SECTOR))
    }

    /// The digest of a file that was read to its end, after comparing it with the expected one.
    fn checksum(&self, file: &Source) -> Result<String, ImportError> {
        let found = file.digest.sha256();
        match &self.request.checksum {
            Some(expected) if expected.sha256() != found => Err(ImportError::Checksum {
                url: file.url.clone(),
                found,
                expected: expected.sha256().to_owned(),
            }),
            _ => Ok(found),
        }
    }

    /// Plain sectors onto the disk.
    async fn stream(&self, mut file: Source, format: Format) -> Result<Imported, ImportError> {
        self.meter.phase(Phase::Importing);
        let limit = self.request.capacity.unwrap_or(disk::limits::VIRTUAL_SIZE);
        let filling = Filling::begin(&self.request.target)?;
        let head = std::mem::take(&mut file.head);
        let mut reader = io::Cursor::new(head).chain(&mut file.reader);
        let (writer, count) = match filling.copy(&mut reader, limit).await {
            Ok(done) => done,
            Err(CopyError::Limit) => {
                return Err(ImportError::TooSmall {
                    virtual_size: limit,
                    exact: false,
                    capacity: limit,
                });
            }
            Err(CopyError::Read(error)) => return Err(file.error(error)),
            Err(CopyError::Write(error)) => return Err(error.into()),
            Err(CopyError::Interrupted) => return Err(ImportError::Interrupted),
        };
        let sha256 = self.checksum(&file)?;
        self.finish(
            writer,
            count,
            Some(sha256),
            format,
            file.encoding,
            Method::Stream,
        )
        .await
    }

    /// qcow2 straight from the server, or through a scratch file.
    async fn qcow2(&self, download: Download, head: Bytes) -> Result<Imported, ImportError> {
        let header = Header::parse(&head)?;
        self.fits(header.virtual_size, true)?;
        // A digest is of the whole file in order, which reading by position does not give.
        if !download.about().by_position() || self.request.checksum.is_some() {
            return self.scratch(Source::plain(download, head)).await;
        }
        let Some(ranged) = Ranged::new(download, head) else {
            return Err(ImportError::Interrupted);
        };
        self.meter.phase(Phase::Importing);
        let image = RemoteImage {
            ranged,
            handle: Handle::current(),
            abandoned: self.abandoned.clone(),
        };
        let writer = self.convert(header, Box::new(image)).await?;
        let (format, encoding) = (Format::Qcow2, Encoding::Identity);
        self.finish(
            writer,
            header.virtual_size,
            None,
            format,
            encoding,
            Method::Ranges,
        )
        .await
    }

    async fn scratch(&self, mut file: Source) -> Result<Imported, ImportError> {
        self.meter.phase(Phase::Scratch);
        let header = Header::parse(&file.head)?;
        let limit = header.virtual_size.saturating_mul(2) + SCRATCH_SLACK;
        let mut scratch = Scratch::beside(&self.request.target)?;
        let mut count = 0;
        let mut next = std::mem::take(&mut file.head);
        while !next.is_empty() {
            count += next.len() as u64;
            if count > limit {
                return Err(ImportError::ScratchTooLarge {
                    url: file.url,
                    limit,
                });
            }
            scratch = blocking(move || scratch.append(&next).map(|()| scratch)).await??;
            next = file.block(1 << 20).await?;
        }
        let sha256 = self.checksum(&file)?;
        self.meter.phase(Phase::Converting);
        let image = ScratchImage {
            file: scratch.into_file(),
            abandoned: self.abandoned.clone(),
        };
        let writer = self.convert(header, Box::new(image)).await?;
        let size = header.virtual_size;
        self.finish(
            writer,
            size,
            Some(sha256),
            Format::Qcow2,
            file.encoding,
            Method::Scratch,
        )
        .await
    }

    async fn convert(
        &self,
        header: Header,
        mut image: Box<dyn ReadAt + Send>,
    ) -> Result<SparseWriter, ImportError> {
        let target = self.request.target.clone();
        let meter = self.meter.clone();
        blocking(move || {
            let mut writer = SparseWriter::new(Partial::create(&target)?, header.virtual_size)?;
            let mut note = |done| meter.converted(done, header.virtual_size);
            qcow2::convert(header, image.as_mut(), &mut writer, &mut note)?;
            Ok(writer)
        })
        .await?
    }

    async fn finish(
        &self,
        writer: SparseWriter,
        virtual_size: u64,
        sha256: Option<String>,
        format: Format,
        encoding: Encoding,
        method: Method,
    ) -> Result<Imported, ImportError> {
        self.meter.phase(Phase::Syncing);
        let size = self.size(virtual_size);
        let bytes_written = writer.written();
        blocking(move || writer.finish(size)).await??;
        Ok(Imported {
            virtual_size,
            size,
            bytes_read: 0,
            bytes_written,
            sha256,
            format: format.to_string(),
            encoding: encoding.to_string(),
            method,
            seconds: 0.0,
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ImportError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ImportError::Interrupted)
}
