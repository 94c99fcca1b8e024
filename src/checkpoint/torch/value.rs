//! What a pickle holds, as nodes that refer to each other by number: whatever refers to what, reading it ends.
use safetensors::Dtype;

/// The number of a node.
pub(super) type Id = usize;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Int(i64),
    Float(f64),
    Text(String),
    /// A tuple, a list or a set.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Tensor(Tensor),
    Storage(Storage),
    /// A name of the table of known ones: a number there.
    Global(usize),
    /// Known to be of no use here: a truth value, bytes, a number too large, an array of NumPy, an object of DeepSpeed.
    Opaque,
}

/// Bytes that tensors lie in.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    /// The name of its entry, below `data/`.
    pub(super) key: String,
    pub(super) dtype: Dtype,
    /// Elements.
    pub(super) len: u64,
}

/// A tensor: where its elements lie in a storage of the file.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub(super) storage: Storage,
    pub(super) offset: u64,
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next, of each dimension.
    pub(super) strides: Vec<u64>,
}

impl Tensor {
    /// Of these parts; `None` where they reach beyond the storage.
    pub(super) fn new(storage: Storage, offset: u64, shape: Vec<usize>, strides: Vec<u64>) -> Option<Self> {
        let elements = shape.iter().try_fold(1usize, |product, n| product.checked_mul(*n))?;
        let mut last = offset;
        for (n, stride) in shape.iter().zip(&strides) {
            last = last.checked_add((*n as u64).saturating_sub(1).checked_mul(*stride)?)?;
        }
        let fits = elements == 0 || last < storage.len;
        (shape.len() == strides.len() && fits).then_some(Self { storage, offset, shape, strides })
    }

    /// Format of its elements.
    pub fn dtype(&self) -> Dtype {
        self.storage.dtype
    }

    /// Its shape, row-major.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements that lie one behind the other, of the innermost dimensions.
    pub(super) fn stretch(&self) -> usize {
        let mut length = 1;
        for (n, stride) in self.shape.iter().zip(&self.strides).rev() {
            // A dimension of one index takes no stride.
            if *n != 1 && *stride != length as u64 {
                break;
            }
            length *= n;
        }
        length
    }

    /// Where the element of a row-major index lies in the storage.
    pub(super) fn place(&self, mut index: usize) -> u64 {
        let mut place = self.offset;
        for (n, stride) in self.shape.iter().zip(&self.strides).rev() {
            place += (index % n) as u64 * stride;
            index /= n;
        }
        place
    }
}

/// Everything that a pickle holds.
#[derive(Clone, Debug)]
pub struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

impl Pickle {
    /// The one value that it is.
    pub fn root(&self) -> Value<'_> {
        Value { nodes: &self.nodes, id: self.root }
    }

    /// Every tensor in it, as often as it was built.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        })
    }
}

/// A value in a pickle. What is asked of a value of another kind is not there.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    nodes: &'a [Node],
    id: Id,
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        &self.nodes[self.id]
    }

    /// The value of a key, of a dictionary; the last one counts.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries().rev().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value of a number as a key, of a dictionary, or the element of that place, of a list.
    pub fn at(self, index: usize) -> Option<Self> {
        match self.node() {
            Node::List(list) => list.get(index).map(|id| self.to(*id)),
            Node::Dict(entries) => {
                let is = |id: &Id| matches!(self.nodes[*id], Node::Int(n) if n == index as i64);
                entries.iter().rev().find(|(key, _)| is(key)).map(|(_, id)| self.to(*id))
            }
            _ => None,
        }
    }

    /// The entries of a dictionary whose keys are texts, in order.
    pub fn entries(self) -> impl DoubleEndedIterator<Item = (&'a str, Self)> {
        let entries = match self.node() {
            Node::Dict(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter_map(move |(key, value)| match &self.nodes[*key] {
            Node::Text(key) => Some((key.as_str(), self.to(*value))),
            _ => None,
        })
    }

    /// The elements of a list.
    pub fn items(self) -> impl ExactSizeIterator<Item = Self> {
        let list = match self.node() {
            Node::List(list) => list.as_slice(),
            _ => &[],
        };
        list.iter().map(move |id| self.to(*id))
    }

    /// Whether it is a list, a tuple or a set.
    pub fn is_list(self) -> bool {
        matches!(self.node(), Node::List(_))
    }

    /// Whether it is Python's `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A whole number that is not negative.
    pub fn count(self) -> Option<u64> {
        match self.node() {
            Node::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(self) -> Option<f64> {
        match self.node() {
            Node::Int(n) => Some(*n as f64),
            Node::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// A tensor.
    pub fn tensor(self) -> Option<&'a Tensor> {
        match self.node() {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The numbers of a list of such: a `torch.Size`.
    pub fn sizes(self) -> Option<Vec<usize>> {
        let size = |value: Self| usize::try_from(value.count()?).ok();
        if self.is_list() { self.items().map(size).collect() } else { None }
    }

    fn to(self, id: Id) -> Self {
        Self { id, ..self }
    }
}
