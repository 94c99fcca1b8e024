//! Pickles as `torch.save` writes them (protocol 2, and what later ones add), followed without calling anything.
//!
//! An opcode makes at most one node and copies nothing that is there already, so that what is built is no larger than the
//! file, whatever the file says.
use super::globals::{self, Known};
use super::value::{Id, Node, Pickle, Storage, Tensor};
use crate::error::one_line;
use std::collections::HashMap;

/// Reads a pickle. The error is the reason only.
///
/// # Errors
/// Refused when it would call something that is no part of a tensor, and when it is no pickle.
pub fn parse(bytes: &[u8]) -> Result<Pickle, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = machine.run()?;
    Ok(Pickle { nodes: machine.nodes, root })
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Done<T = ()> = Result<T, String>;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Done<Id> {
        loop {
            let opcode = self.take(1)?[0];
            match opcode {
                b'.' => return self.pop(),
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.popped_mark()?),
                b'2' => self.stack.push(self.top()?),
                b'N' => self.push(Node::None),
                0x88 | 0x89 => self.push(Node::Opaque),
                b'J' => {
                    let n = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(n.into()));
                }
                b'K' => self.push_count(1)?,
                b'M' => self.push_count(2)?,
                0x8a => self.long(1)?,
                0x8b => self.long(4)?,
                b'G' => {
                    let x = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(x));
                }
                0x8c | b'U' => self.text(1)?,
                b'X' | b'T' => self.text(4)?,
                0x8d => self.text(8)?,
                b'C' => self.data(1)?,
                b'B' => self.data(4)?,
                0x8e | 0x96 => self.data(8)?,
                b']' | b')' | 0x8f => self.push(Node::List(Vec::new())),
                b'l' | b't' | 0x91 => self.gathered()?,
                0x85..=0x87 => self.tuple(opcode - 0x84)?,
                b'}' => self.push(Node::Dict(Vec::new())),
                b'd' => {
                    let items = self.popped_mark()?;
                    self.push(Node::Dict(Vec::new()));
                    self.set_items(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' | 0x90 => {
                    let items = self.popped_mark()?;
                    self.append(&items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set_items(&[key, value])?;
                }
                b'u' => {
                    let items = self.popped_mark()?;
                    self.set_items(&items)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => self.stacked_global()?,
                b'R' | 0x81 => self.reduce()?,
                b'b' => self.build()?,
                b'Q' => self.persistent()?,
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                b'q' => self.remember(1)?,
                b'r' => self.remember(4)?,
                0x94 => {
                    let (place, top) = (self.memo.len() as u32, self.top()?);
                    self.memo.insert(place, top);
                }
                other => return Err(format!("opcode {other:#04x} is none that torch.save writes")),
            }
        }
    }

    fn take(&mut self, count: usize) -> Done<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or("it ends in the middle of a value")?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Done<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().expect("as many bytes as were asked for"))
    }

    /// A number of so many bytes, little endian.
    fn count(&mut self, bytes: usize) -> Done<u64> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    /// The bytes behind their number, which has so many bytes.
    fn counted(&mut self, bytes: usize) -> Done<&'a [u8]> {
        let count = self.count(bytes)?;
        self.take(usize::try_from(count).map_err(|_| "it ends in the middle of a value")?)
    }

    fn line(&mut self) -> Done<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or("it ends in the middle of a name")?;
        self.at += end + 1;
        str::from_utf8(&rest[..end]).map_err(|_| "a name is no text".into())
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn push_count(&mut self, bytes: usize) -> Done {
        let n = self.count(bytes)?;
        self.push(Node::Int(n as i64));
        Ok(())
    }

    /// An integer of any size; beyond 64 bits it is of no use.
    fn long(&mut self, bytes: usize) -> Done {
        let digits = self.counted(bytes)?;
        let mut extended = [if digits.last().is_some_and(|b| *b >= 0x80) { 0xff } else { 0 }; 8];
        self.push(match extended.get_mut(..digits.len()) {
            Some(low) => {
                low.copy_from_slice(digits);
                Node::Int(i64::from_le_bytes(extended))
            }
            None => Node::Opaque,
        });
        Ok(())
    }

    fn text(&mut self, bytes: usize) -> Done {
        let text = str::from_utf8(self.counted(bytes)?).map_err(|_| "a text is not UTF-8")?;
        self.push(Node::Text(text.into()));
        Ok(())
    }

    fn data(&mut self, bytes: usize) -> Done {
        self.counted(bytes)?;
        self.push(Node::Opaque);
        Ok(())
    }

    /// What this pickle may use: nothing from below the innermost mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Done<Id> {
        let own = &self.stack[self.floor()..];
        own.last().copied().ok_or_else(|| "it takes a value where there is none".into())
    }

    fn pop(&mut self) -> Done<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn popped_mark(&mut self) -> Done<Vec<Id>> {
        let mark = self.marks.pop().ok_or("it ends a list that was not begun")?;
        Ok(self.stack.split_off(mark))
    }

    fn gathered(&mut self) -> Done {
        let items = self.popped_mark()?;
        self.push(Node::List(items));
        Ok(())
    }

    fn tuple(&mut self, count: u8) -> Done {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::List(items));
        Ok(())
    }

    fn append(&mut self, items: &[Id]) -> Done {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend_from_slice(items),
            _ => return Err("it appends to what is no list".into()),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Done {
        let top = self.top()?;
        match (&mut self.nodes[top], items.as_chunks()) {
            (Node::Dict(entries), (pairs, [])) => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)))
            }
            _ => return Err("it sets entries of what is no dictionary".into()),
        }
        Ok(())
    }

    fn recall(&mut self, bytes: usize) -> Done {
        let place = self.count(bytes)? as u32;
        let id = self.memo.get(&place).ok_or("it refers to a value that is not there")?;
        self.stack.push(*id);
        Ok(())
    }

    fn remember(&mut self, bytes: usize) -> Done {
        let (place, top) = (self.count(bytes)? as u32, self.top()?);
        self.memo.insert(place, top);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Done {
        let number = globals::find(module, name).ok_or_else(|| {
            let called: String = one_line(format!("{module}.{name}")).chars().take(100).collect();
            format!(
                "it calls {called}, which is no part of a tensor: a pickle that calls something can do anything where it is \
                 opened, and here none of it was done"
            )
        })?;
        self.push(Node::Global(number));
        Ok(())
    }

    fn stacked_global(&mut self) -> Done {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.nodes[module].clone(), self.nodes[name].clone()) {
            (Node::Text(module), Node::Text(name)) => self.global(&module, &name),
            _ => Err("a name is no text".into()),
        }
    }

    /// What would be called, or made, of a name and its arguments.
    fn reduce(&mut self) -> Done {
        let (arguments, called) = (self.pop()?, self.pop()?);
        let Node::Global(number) = self.nodes[called] else {
            return Err("it calls a value; a pickle that calls something is not read".into());
        };
        let Node::List(arguments) = &self.nodes[arguments] else {
            return Err("the arguments of a name are no list".into());
        };
        let first = arguments.first().copied();
        match globals::known(number) {
            Known::Dict => self.push(Node::Dict(Vec::new())),
            Known::Same => match first {
                Some(id) => self.stack.push(id),
                None => self.push(Node::List(Vec::new())),
            },
            Known::Tensor => {
                let tensor = self
                    .tensor(arguments)
                    .ok_or("a tensor reaches beyond its storage, or is described in another way")?;
                self.push(Node::Tensor(tensor));
            }
            Known::Storage(_) | Known::Opaque => self.push(Node::Opaque),
        }
        Ok(())
    }

    /// `storage, offset, shape, strides, …`
    fn tensor(&self, arguments: &[Id]) -> Option<Tensor> {
        let [storage, offset, shape, strides, ..] = *arguments else { return None };
        let Node::Storage(storage) = &self.nodes[storage] else { return None };
        let strides = self.counts(strides)?.collect::<Option<_>>()?;
        let shape = self.counts(shape)?.map(|n| usize::try_from(n?).ok()).collect::<Option<_>>()?;
        Tensor::new(storage.clone(), self.number(offset)?, shape, strides)
    }

    fn number(&self, id: Id) -> Option<u64> {
        match self.nodes[id] {
            Node::Int(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    fn counts(&self, id: Id) -> Option<impl Iterator<Item = Option<u64>>> {
        /// PyTorch's own bound is 64.
        const DIMENSIONS_MAX: usize = 64;
        match &self.nodes[id] {
            Node::List(list) if list.len() <= DIMENSIONS_MAX => Some(list.iter().map(|id| self.number(*id))),
            _ => None,
        }
    }

    /// Attributes of an object, none of which is of use.
    fn build(&mut self) -> Done {
        self.pop()?;
        let top = self.top()?;
        match self.nodes[top] {
            Node::Opaque | Node::Dict(_) => Ok(()),
            _ => Err("it sets attributes of what is no object".into()),
        }
    }

    /// `("storage", class, key, location, elements)`, in place of the storage itself.
    fn persistent(&mut self) -> Done {
        let id = self.pop()?;
        let storage = self.storage(id).ok_or("a storage is described in another way than torch.save does")?;
        self.push(Node::Storage(storage));
        Ok(())
    }

    fn storage(&self, id: Id) -> Option<Storage> {
        let Node::List(parts) = &self.nodes[id] else { return None };
        let [kind, class, key, _location, len] = parts[..] else { return None };
        match (&self.nodes[kind], &self.nodes[class], &self.nodes[key]) {
            (Node::Text(kind), Node::Global(class), Node::Text(key)) if kind == "storage" => {
                let Known::Storage(dtype) = globals::known(*class) else { return None };
                Some(Storage { key: key.clone(), dtype, len: self.number(len)? })
            }
            _ => None,
        }
    }
}
