//! The stack machine: executes the opcodes of pickle protocols 0 to 5 on plain values.
//!
//! The values lie on one stack; a mark remembers a height of it; the memo keeps values for later
//! use.

use std::{collections::HashMap, path::Path};

use super::{Global, Node, Tree, Value, globals, input::Input, op};
use crate::{Error, LoadError, Result};

/// Most values, marks and memo entries that a pickle may make; a model with 10 000 tensors makes
/// about 400 000.
const MOST_VALUES: usize = 2 << 20;

/// Most tensors of a pickle. Each costs much more memory than the few bytes that ask for it.
const MOST_TENSORS: usize = 200_000;

/// Runs a pickle to its end, ignoring the bytes after it. Also returns its length.
pub(super) fn run(pickle: &[u8], origin: &Path) -> Result<(Tree, usize)> {
    let mut machine = Machine {
        input: Input::new(pickle, origin),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes: Vec::new(),
        made: 0,
        tensors: 0,
    };
    let root = loop {
        let opcode = machine.input.byte()?;
        if opcode == op::STOP {
            break machine.pop()?;
        }
        machine.step(opcode)?;
    };
    Ok((
        Tree {
            root,
            nodes: machine.nodes,
        },
        machine.input.at(),
    ))
}

/// State of a running pickle.
pub(super) struct Machine<'a> {
    input: Input<'a>,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    nodes: Vec<Node>,
    made: usize,
    tensors: usize,
}

impl Machine<'_> {
    /// Adds a node and returns its index.
    pub(super) fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Adds a tensor and returns its index.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn add_tensor(&mut self, node: Node) -> Result<usize, String> {
        self.tensors += 1;
        if self.tensors > MOST_TENSORS {
            return Err(format!("more than {MOST_TENSORS} tensors"));
        }
        Ok(self.add(node))
    }

    /// The node of an index.
    pub(super) fn node(&self, index: usize) -> Option<&Node> {
        self.nodes.get(index)
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::PROTO => self.input.take(1).map(drop),
            op::FRAME => self.input.take(8).map(drop),
            op::MARK => self.mark(),
            op::POP => self.pop_any(),
            op::POP_MARK => self.above_mark().map(drop),
            op::DUP => self.top().and_then(|value| self.push(value)),
            op::GET..=op::BINGET | op::LONG_BINGET => self.get(opcode),
            op::PUT..=op::LONG_BINPUT | op::MEMOIZE => self.put(opcode),
            op::EMPTY_TUPLE | op::TUPLE | op::TUPLE1..=op::TUPLE3 => self.tuple(opcode),
            op::EMPTY_LIST | op::LIST | op::APPEND | op::APPENDS => self.list(opcode),
            op::EMPTY_DICT | op::DICT | op::SETITEM | op::SETITEMS => self.dictionary(opcode),
            op::EMPTY_SET | op::ADDITEMS | op::FROZENSET => self.set(opcode),
            op::GLOBAL | op::STACK_GLOBAL => self.global(opcode),
            op::REDUCE | op::NEWOBJ | op::NEWOBJ_EX | op::INST | op::OBJ => self.call(opcode),
            // `_metadata` and the like: not needed
            op::BUILD => self.pop().and_then(|_| self.top()).map(drop),
            op::PERSID | op::BINPERSID => self.persistent(opcode),
            _ => {
                let value = self.input.literal(opcode)?;
                self.push(value)
            }
        }
    }

    fn tuple(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            op::EMPTY_TUPLE => Vec::new(),
            op::TUPLE => self.above_mark()?,
            _ => self.pop_many(usize::from(opcode - op::TUPLE1) + 1)?,
        };
        let tuple = self.add(Node::Sequence(items));
        self.push(Value::Tuple(tuple))
    }

    fn list(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::EMPTY_LIST | op::LIST => {
                let items = if opcode == op::LIST {
                    self.above_mark()?
                } else {
                    Vec::new()
                };
                let list = self.add(Node::Sequence(items));
                self.push(Value::List(list))
            }
            _ => {
                let items = if opcode == op::APPENDS {
                    self.above_mark()?
                } else {
                    self.pop_many(1)?
                };
                match self.top()? {
                    Value::List(list) => match self.nodes.get_mut(list) {
                        Some(Node::Sequence(all)) => all.extend(items),
                        _ => return self.fail("a list that is none"),
                    },
                    Value::Opaque(_) => {}
                    _ => return self.fail("an item is added to something that is not a list"),
                }
                Ok(())
            }
        }
    }

    fn dictionary(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            op::EMPTY_DICT => Vec::new(),
            op::SETITEM => self.pop_many(2)?,
            _ => self.above_mark()?,
        };
        if items.len() % 2 != 0 {
            return self.fail("a key without a value");
        }
        let mut items = items.into_iter();
        let pairs = std::iter::from_fn(|| Some((items.next()?, items.next()?)));
        if matches!(opcode, op::EMPTY_DICT | op::DICT) {
            let entries = pairs.collect();
            let dictionary = self.add(Node::Mapping(entries));
            return self.push(Value::Dict(dictionary));
        }
        match self.stack.last() {
            Some(Value::Dict(dictionary)) => match self.nodes.get_mut(*dictionary) {
                Some(Node::Mapping(entries)) => entries.extend(pairs),
                _ => return self.fail("a dictionary that is none"),
            },
            Some(Value::Opaque(_)) => {}
            _ => return self.fail("an entry is added to something that is not a dictionary"),
        }
        Ok(())
    }

    fn set(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            op::EMPTY_SET => self.push(Value::Opaque("set")),
            op::FROZENSET => {
                self.above_mark()?;
                self.push(Value::Opaque("set"))
            }
            _ => {
                self.above_mark()?;
                self.top().map(drop)
            }
        }
    }

    fn global(&mut self, opcode: u8) -> Result<()> {
        let global = if opcode == op::GLOBAL {
            let module = self.input.line()?;
            let name = self.input.line()?;
            self.find(&module, &name)?
        } else {
            let parts = self.pop_many(2)?;
            let [Value::Str(module), Value::Str(name)] = parts.as_slice() else {
                return self.fail("a name that is not a text");
            };
            self.find(module, name)?
        };
        self.push(Value::Global(global))
    }

    fn find(&self, module: &str, name: &str) -> Result<Global> {
        if let Some(global) = globals::find(module, name) {
            return Ok(global);
        }
        let reason = if name.ends_with("Storage") {
            "this data type is not supported"
        } else {
            "only tensors are loaded, and no code is ever run"
        };
        let name: String = format!("{module}.{name}")
            .chars()
            .filter(|c| !c.is_control())
            .take(80)
            .collect();
        Err(Error::from(LoadError::ForbiddenObject {
            path: self.input.origin().to_owned(),
            name,
            reason,
        }))
    }

    fn call(&mut self, opcode: u8) -> Result<()> {
        let (callable, arguments) = match opcode {
            op::INST => {
                let module = self.input.line()?;
                let name = self.input.line()?;
                (
                    Value::Global(self.find(&module, &name)?),
                    self.above_mark()?,
                )
            }
            op::OBJ => {
                let mut parts = self.above_mark()?;
                if parts.is_empty() {
                    return self.fail("an object without a class");
                }
                (parts.remove(0), parts)
            }
            _ => {
                if opcode == op::NEWOBJ_EX {
                    self.pop()?;
                }
                let arguments = match self.pop()? {
                    Value::Tuple(index) => match self.nodes.get(index) {
                        // No known name takes more
                        Some(Node::Sequence(items)) if items.len() <= 16 => items.clone(),
                        _ => return self.fail("a call with too many arguments"),
                    },
                    _ => return self.fail("a call without a tuple of arguments"),
                };
                (self.pop()?, arguments)
            }
        };
        let result = match callable {
            Value::Global(global) => globals::call(self, global, &arguments),
            Value::Opaque(kind) => Ok(Value::Opaque(kind)),
            _ => Err("a call of something that cannot be called".into()),
        };
        match result {
            Ok(value) => self.push(value),
            Err(message) => self.fail(message),
        }
    }

    fn persistent(&mut self, opcode: u8) -> Result<()> {
        let storage = match opcode {
            op::PERSID => globals::persistent_text(&self.input.line()?),
            _ => match self.pop()? {
                Value::Tuple(index) => match self.nodes.get(index) {
                    Some(Node::Sequence(parts)) => globals::persistent(parts),
                    _ => Err("a persistent id that is not a tuple".into()),
                },
                _ => Err("a persistent id that is not a tuple".into()),
            },
        };
        match storage {
            Ok(storage) => {
                let index = self.add(Node::Storage(Box::new(storage)));
                self.push(Value::Storage(index))
            }
            Err(message) => self.fail(message),
        }
    }

    fn get(&mut self, opcode: u8) -> Result<()> {
        let index = self.memo_index(opcode, op::GET, op::BINGET)?;
        match self.memo.get(&index).cloned() {
            Some(value) => self.push(value),
            None => self.fail(format!("memo {index} is used before it is filled")),
        }
    }

    fn put(&mut self, opcode: u8) -> Result<()> {
        let index = match opcode {
            op::MEMOIZE => self.memo.len() as u32,
            _ => self.memo_index(opcode, op::PUT, op::BINPUT)?,
        };
        let value = self.top()?;
        self.count()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn memo_index(&mut self, opcode: u8, text: u8, short: u8) -> Result<u32> {
        if opcode == short {
            return Ok(self.input.byte()?.into());
        }
        if opcode != text {
            return Ok(u32::from_le_bytes(self.input.array()?));
        }
        match self.input.line()?.parse() {
            Ok(index) => Ok(index),
            Err(_) => self.fail("an invalid memo number"),
        }
    }

    fn mark(&mut self) -> Result<()> {
        self.count()?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// `POP` takes the mark off where nothing lies above it.
    fn pop_any(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    fn count(&mut self) -> Result<()> {
        self.made += 1;
        if self.made > MOST_VALUES {
            return self.fail(format!("more than {MOST_VALUES} values"));
        }
        Ok(())
    }

    /// The number of values above the last mark, which may be popped without touching it.
    fn available(&self) -> usize {
        self.stack.len() - self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Value> {
        match self.available() {
            0 => self.fail("a value is missing on the stack"),
            _ => self
                .stack
                .pop()
                .map_or_else(|| self.fail("a value is missing on the stack"), Ok),
        }
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value>> {
        if self.available() < count {
            return self.fail("a value is missing on the stack");
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn top(&self) -> Result<Value> {
        match self.stack.last() {
            Some(value) if self.available() > 0 => Ok(value.clone()),
            _ => self.fail("a value is missing on the stack"),
        }
    }

    fn above_mark(&mut self) -> Result<Vec<Value>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.fail("a mark is missing on the stack"),
        }
    }

    fn fail<T>(&self, message: impl AsRef<str>) -> Result<T> {
        self.input.fail(message)
    }
}
