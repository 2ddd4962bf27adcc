//! The wire format: keys, varints, lengths.

use super::ProtobufError;

/// A field's value as it lies on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self, number: u64) -> Result<&'a [u8], ProtobufError> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(ProtobufError::WireType(number)),
        }
    }

    pub(super) fn text(self, number: u64) -> Result<String, ProtobufError> {
        std::str::from_utf8(self.bytes(number)?)
            .map(str::to_owned)
            .map_err(|_| ProtobufError::NotText)
    }

    /// Integers are written as 64 bit two's complement.
    pub(super) fn integer(self, number: u64) -> Result<i64, ProtobufError> {
        match self {
            Field::Varint(value) | Field::Fixed64(value) => {
                Ok(i64::from_ne_bytes(value.to_ne_bytes()))
            }
            Field::Fixed32(value) => Ok(i64::from(value)),
            Field::Bytes(_) => Err(ProtobufError::WireType(number)),
        }
    }
}

/// Reads fields one after the other.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtobufError::Malformed("a number is too long".to_owned()))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtobufError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next field's number and value.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, ProtobufError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(u64::from_le_bytes(
                self.take(8)?
                    .try_into()
                    .map_err(|_| ProtobufError::Truncated)?,
            )),
            2 => {
                let length =
                    usize::try_from(self.varint()?).map_err(|_| ProtobufError::Truncated)?;
                Field::Bytes(self.take(length)?)
            }
            5 => Field::Fixed32(u32::from_le_bytes(
                self.take(4)?
                    .try_into()
                    .map_err(|_| ProtobufError::Truncated)?,
            )),
            _ => return Err(ProtobufError::WireType(number)),
        };
        Ok(Some((number, field)))
    }
}
