//! The protobuf wire format, as far as etcd's files need it: bounded reading of fields, writing in a given order.
//!
//! It exists because files must come out byte for byte as etcd writes them (gogo writes zero fields that proto3 leaves
//! out), which generated code does not promise.

use crate::error::Result;

use super::damaged;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: bytes, string or message.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The varint.
    ///
    /// # Errors
    /// `Verification` when the field has another wire type.
    pub fn varint(self) -> Result<u64> {
        match self {
            Value::Varint(v) => Ok(v),
            _ => Err(damaged("a protobuf field should be a number and is not")),
        }
    }

    /// The varint as protobuf's int64.
    ///
    /// # Errors
    /// As [`Value::varint`].
    pub fn int64(self) -> Result<i64> {
        self.varint().map(u64::cast_signed)
    }

    /// The bytes.
    ///
    /// # Errors
    /// `Verification` when the field has another wire type.
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Value::Bytes(v) => Ok(v),
            _ => Err(damaged("a protobuf field should be bytes and is not")),
        }
    }
}

/// The fields of a message, one after the other, in the order of the wire.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Reads the fields of `message`. It ends after the first error.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'a> Fields<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (now, later) = self.rest.split_at_checked(usize::try_from(len).ok()?)?;
        self.rest = later;
        Some(now)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| damaged("a protobuf message is cut off or malformed")))
    }
}

/// A message that is being written. Fields appear in the order of the calls.
#[derive(Debug, Default, Clone)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Message::default()
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Adds a number, also when it is zero.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Adds bytes, also when there are none.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// The encoded message.
    pub fn encode(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(numbers in prop::collection::vec((1u64..1000, any::<u64>()), 0..10), text: Vec<u8>) {
            let mut message = Message::new();
            for (field, value) in &numbers {
                message = message.number(*field, *value);
            }
            let bytes = message.bytes(7, &text).encode();
            let read: Vec<_> = fields(&bytes).map(|f| f.unwrap()).collect();
            let mut expected: Vec<_> = numbers.iter().map(|(f, v)| (*f, Value::Varint(*v))).collect();
            expected.push((7, Value::Bytes(&text)));
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_end_in_fields_or_one_error(bytes: Vec<u8>) {
            let read: Vec<_> = fields(&bytes).collect();
            prop_assert!(read.len() <= bytes.len());
            prop_assert!(read.iter().rev().skip(1).all(|f| f.is_ok()));
        }
    }

    #[test]
    fn malformed_messages_are_refused() {
        for bad in [&[0x08][..], &[0x08, 0x80], &[0x0a, 0x05, 1], &[0x0b], &[0x00, 0x01], &[0x09, 1, 2], &[0xff; 11]] {
            assert!(fields(bad).any(|f| f.is_err()), "{bad:?} was accepted");
        }
    }
}
