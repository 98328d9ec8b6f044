//! A file's segments, one after the other, as libjpeg finds them: bytes between segments that belong to none are passed
//! over, as are fill bytes. Source: ITU-T T.81, annex B.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use super::Stop;

pub(super) const SOI: u8 = 0xd8;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;
pub(super) const DHT: u8 = 0xc4;
pub(super) const DQT: u8 = 0xdb;
pub(super) const DRI: u8 = 0xdd;
pub(super) const APP0: u8 = 0xe0;
pub(super) const APP14: u8 = 0xee;

pub(super) const ENDS: Stop = Stop::Broken("the file ends inside the image");

/// Bytes from front to back.
pub(super) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, Stop>;
    /// Passes over `count` bytes.
    fn skip(&mut self, count: usize) -> Result<(), Stop>;

    /// Two bytes, the higher first.
    fn word(&mut self) -> Result<usize, Stop> {
        Ok(usize::from(u16::from_be_bytes([self.byte()?, self.byte()?])))
    }

    /// The next bytes, as many as `to` takes.
    fn fill(&mut self, to: &mut [u8]) -> Result<(), Stop> {
        for to in to {
            *to = self.byte()?;
        }
        Ok(())
    }

    /// The next marker.
    fn marker(&mut self) -> Result<u8, Stop> {
        loop {
            while self.byte()? != 0xff {}
            let mut marker = 0xff;
            while marker == 0xff {
                marker = self.byte()?;
            }
            if marker != 0 {
                return Ok(marker);
            }
        }
    }

    /// Bytes of the segment's content, where the marker has one.
    fn content_bytes(&mut self, marker: u8) -> Result<usize, Stop> {
        match marker {
            0x01 | 0xd0..=0xd7 | EOI => Ok(0),
            SOI => Err(Stop::Broken("a JPEG that begins twice")),
            0xc0..=0xfe if !matches!(marker, 0xde..=0xdf | 0xf0..=0xfd) => match (marker, self.word()?) {
                // Of other segments libjpeg passes over what is said to be there.
                (DHT | DQT, 0..2) => Err(Stop::Broken("a JPEG with a table of no length")),
                (_, bytes) => Ok(bytes.saturating_sub(2)),
            },
            _ => Err(Stop::Broken("a JPEG with a marker of no known kind")),
        }
    }
}

/// A file in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct InMemory<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

impl Source for InMemory<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = self.bytes.get(self.at).copied().ok_or(ENDS)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len()).ok_or(ENDS)?;
        Ok(())
    }
}

/// A file that is read a little at a time.
pub(super) struct Reading<'a, R> {
    read: &'a mut R,
    /// Where in the file the held bytes end.
    end: u64,
    held: [u8; 256],
    /// Which of the held bytes are still to come.
    left: std::ops::Range<usize>,
}

impl<'a, R: Read + Seek> Reading<'a, R> {
    /// Reads on from byte `at`.
    pub fn new(read: &'a mut R, at: u64) -> Result<Reading<'a, R>, Stop> {
        read.seek(SeekFrom::Start(at)).map_err(Stop::Io)?;
        Ok(Reading { read, end: at, held: [0; 256], left: 0..0 })
    }
}

impl<R: Read + Seek> Source for Reading<'_, R> {
    fn byte(&mut self) -> Result<u8, Stop> {
        while self.left.is_empty() {
            match self.read.read(&mut self.held) {
                Ok(0) => return Err(ENDS),
                Ok(count) => {
                    self.left = 0..count;
                    self.end += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Io(error)),
            }
        }
        self.left.next().and_then(|at| self.held.get(at).copied()).ok_or(ENDS)
    }

    fn skip(&mut self, count: usize) -> Result<(), Stop> {
        if count <= self.left.len() {
            self.left.start += count;
            return Ok(());
        }
        let at = self.end + (count - self.left.len()) as u64;
        self.read.seek(SeekFrom::Start(at)).map_err(Stop::Io)?;
        (self.end, self.left) = (at, 0..0);
        Ok(())
    }
}
