//! The header of a page (`PageHeader` of parquet.thrift).

use parquet::basic::Encoding;

use super::thrift::{STRUCT, Thrift, ThriftError};

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    DataV2,
    Dictionary,
    /// An index, which is passed over.
    Other,
}

/// See the module. Counts that are negative do not get here.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageHeader {
    pub kind: PageKind,
    pub uncompressed_bytes: usize,
    pub compressed_bytes: usize,
    pub crc: Option<u32>,
    pub values: u32,
    pub nulls: u32,
    pub rows: u32,
    pub encoding: Encoding,
    pub definition_encoding: Encoding,
    pub repetition_encoding: Encoding,
    pub definition_bytes: u32,
    pub repetition_bytes: u32,
    pub is_compressed: bool,
    pub is_sorted: bool,
}

impl PageHeader {
    /// The header that `bytes` begin with, and its own bytes.
    pub fn read(bytes: &[u8]) -> Result<(PageHeader, usize), ThriftError> {
        let mut thrift = Thrift::new(bytes);
        let (mut kind, mut sizes, mut crc) = (None, [None; 2], None);
        let mut page = PageHeader {
            kind: PageKind::Other,
            uncompressed_bytes: 0,
            compressed_bytes: 0,
            crc: None,
            values: 0,
            nulls: 0,
            rows: 0,
            encoding: Encoding::PLAIN,
            definition_encoding: Encoding::RLE,
            repetition_encoding: Encoding::RLE,
            definition_bytes: 0,
            repetition_bytes: 0,
            is_compressed: true,
            is_sorted: false,
        };
        let (mut last, mut described) = (0, None);
        while let Some(field) = thrift.field(&mut last)? {
            match (field.id, field.kind) {
                (1, 5) => kind = Some(thrift.integer()?),
                (2, 5) => sizes[0] = Some(thrift.integer()?),
                (3, 5) => sizes[1] = Some(thrift.integer()?),
                (4, 5) => crc = Some(thrift.integer()? as u32),
                (id @ (5 | 7 | 8), STRUCT) => {
                    described = Some(id);
                    page.read_kind(id, &mut thrift)?;
                }
                (_, kind) => thrift.skip(kind)?,
            }
        }
        let [uncompressed, compressed] = sizes.map(|size| size.and_then(|size| usize::try_from(size).ok()));
        page.kind = match (kind, described) {
            (Some(0), Some(5)) => PageKind::Data,
            (Some(1), _) => PageKind::Other,
            (Some(2), Some(7)) => PageKind::Dictionary,
            (Some(3), Some(8)) => PageKind::DataV2,
            _ => return Err(ThriftError::Broken),
        };
        page.crc = crc;
        page.uncompressed_bytes = uncompressed.ok_or(ThriftError::Broken)?;
        page.compressed_bytes = compressed.ok_or(ThriftError::Broken)?;
        Ok((page, thrift.position()))
    }

    /// `DataPageHeader` (5), `DictionaryPageHeader` (7) or `DataPageHeaderV2` (8).
    fn read_kind(&mut self, kind: i64, thrift: &mut Thrift<'_>) -> Result<(), ThriftError> {
        let mut last = 0;
        while let Some(field) = thrift.field(&mut last)? {
            let is_number = field.kind == 5;
            let number = if is_number { thrift.integer()? } else { 0 };
            let count = u32::try_from(number).map_err(|_| ThriftError::Broken)?;
            match (kind, field.id) {
                (_, 1) if is_number => self.values = count,
                (5 | 7, 2) | (8, 4) if is_number => self.encoding = encoding(number)?,
                (5, 3) if is_number => self.definition_encoding = encoding(number)?,
                (5, 4) if is_number => self.repetition_encoding = encoding(number)?,
                (7, 3) => self.is_sorted = field.flag(),
                (8, 2) if is_number => self.nulls = count,
                (8, 3) if is_number => self.rows = count,
                (8, 5) if is_number => self.definition_bytes = count,
                (8, 6) if is_number => self.repetition_bytes = count,
                (8, 7) => self.is_compressed = field.flag(),
                _ if is_number => {}
                _ => thrift.skip(field.kind)?,
            }
        }
        Ok(())
    }
}

fn encoding(number: i64) -> Result<Encoding, ThriftError> {
    Ok(match number {
        0 => Encoding::PLAIN,
        2 => Encoding::PLAIN_DICTIONARY,
        3 => Encoding::RLE,
        5 => Encoding::DELTA_BINARY_PACKED,
        6 => Encoding::DELTA_LENGTH_BYTE_ARRAY,
        7 => Encoding::DELTA_BYTE_ARRAY,
        8 => Encoding::RLE_DICTIONARY,
        9 => Encoding::BYTE_STREAM_SPLIT,
        // 1 was never used; 4 is BIT_PACKED, which only files of before 2013 have.
        _ => return Err(ThriftError::Broken),
    })
}
