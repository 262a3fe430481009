//! The bytes of a pickle, read front to back: lengths, lines, and the values that stand for
//! themselves.

use std::{path::Path, sync::Arc};

use super::{Value, op};
use crate::{LoadError, Result};

/// The unread rest of a pickle.
pub(super) struct Input<'a> {
    origin: &'a Path,
    pickle: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(pickle: &'a [u8], origin: &'a Path) -> Self {
        Self {
            origin,
            pickle,
            at: 0,
        }
    }

    /// Bytes that were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The file, for messages.
    pub(super) fn origin(&self) -> &'a Path {
        self.origin
    }

    /// The value that an opcode and the bytes behind it stand for.
    pub(super) fn literal(&mut self, opcode: u8) -> Result<Value> {
        Ok(match opcode {
            op::NONE => Value::None,
            op::NEWTRUE => Value::Bool(true),
            op::NEWFALSE => Value::Bool(false),
            op::BININT => Value::Int(i32::from_le_bytes(self.array()?).into()),
            op::BININT1 => Value::Int(self.byte()?.into()),
            op::BININT2 => Value::Int(u16::from_le_bytes(self.array()?).into()),
            op::BINFLOAT => Value::Float(f64::from_be_bytes(self.array()?)),
            op::INT | op::LONG | op::FLOAT => self.number()?,
            op::LONG1 => {
                let length = self.byte()?.into();
                long(self.take(length)?)
            }
            op::LONG4 => {
                let length = self.length4()?;
                long(self.take(length)?)
            }
            op::STRING | op::UNICODE => Value::Str(self.line()?.trim_matches(['\'', '"']).into()),
            op::SHORT_BINSTRING | op::SHORT_BINUNICODE => {
                let length = self.byte()?.into();
                self.text(length)?
            }
            op::BINSTRING | op::BINUNICODE => {
                let length = self.length4()?;
                self.text(length)?
            }
            op::BINUNICODE8 => {
                let length = self.length8()?;
                self.text(length)?
            }
            op::SHORT_BINBYTES | op::BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = match opcode {
                    op::SHORT_BINBYTES => self.byte()?.into(),
                    op::BINBYTES => self.length4()?,
                    _ => self.length8()?,
                };
                self.take(length)?;
                Value::Opaque("bytes")
            }
            _ => return self.fail(format!("unknown instruction 0x{opcode:02x}")),
        })
    }

    fn number(&mut self) -> Result<Value> {
        let line = self.line()?;
        let text = line.trim_end_matches('L');
        match (&*line, text.parse(), text.parse()) {
            ("00", ..) => Ok(Value::Bool(false)),
            ("01", ..) => Ok(Value::Bool(true)),
            (_, Ok(integer), _) => Ok(Value::Int(integer)),
            (_, _, Ok(float)) => Ok(Value::Float(float)),
            _ => self.fail("an invalid number"),
        }
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        Ok(Value::Str(Arc::from(String::from_utf8_lossy(bytes))))
    }

    pub(super) fn line(&mut self) -> Result<String> {
        let rest = &self.pickle[self.at..];
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                self.at += length + 1;
                Ok(String::from_utf8_lossy(&rest[..length])
                    .trim_end_matches('\r')
                    .to_owned())
            }
            None => self.cut_short(),
        }
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    fn length4(&mut self) -> Result<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Result<usize> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).or_else(|_| self.cut_short())
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().or_else(|_| self.cut_short())
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let pickle = self.pickle;
        match self
            .at
            .checked_add(length)
            .and_then(|end| pickle.get(self.at..end))
        {
            Some(bytes) => {
                self.at += length;
                Ok(bytes)
            }
            None => self.cut_short(),
        }
    }

    fn cut_short<T>(&self) -> Result<T> {
        self.fail("it ends in the middle of a value")
    }

    pub(super) fn fail<T>(&self, message: impl AsRef<str>) -> Result<T> {
        let message = format!(
            "damaged pickle, byte {} of {}: {}",
            self.at,
            self.pickle.len(),
            message.as_ref()
        );
        Err(LoadError::damaged(self.origin, message).into())
    }
}

/// A little-endian two's complement integer of any length; what does not fit 64 bits is of no use
/// here.
fn long(bytes: &[u8]) -> Value {
    if bytes.len() > 8 {
        return Value::Opaque("long integer");
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut full = [if negative { 0xff } else { 0 }; 8];
    full[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(full))
}
