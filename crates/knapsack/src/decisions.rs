//! The memory of how each state came to be.
//!
//! A state remembers the last 32 core items' changes as bits of its own. After
//! each such *stretch* the bits of every live state that has any go into a
//! node, which points to the node of the stretch before. States share nodes as
//! they share history; nodes no state reaches are thrown out when there is no
//! more room.

use crate::states::State;

/// How many core items one stretch has.
pub(crate) const STRETCH: usize = u32::BITS as usize;

/// The node that has no changes and no parent.
const ROOT: u16 = 0;

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    bits: u32,
    stretch: u16,
    parent: u16,
}

/// All nodes of one search.
#[derive(Debug)]
pub(crate) struct Decisions {
    /// Parents before children; the first is the root.
    nodes: Vec<Node>,
    reached: Vec<u64>,
    /// Before each word of `reached`, how many bits are set.
    rank: Vec<u16>,
}

impl Decisions {
    /// Makes room for `nodes` nodes, at most 2^16 − 1.
    pub(crate) fn with_capacity(nodes: usize) -> Self {
        let nodes = nodes.min(usize::from(u16::MAX));
        let words = nodes.div_ceil(64);
        Self {
            nodes: Vec::with_capacity(nodes),
            reached: vec![0; words],
            rank: vec![0; words],
        }
    }

    /// Writes to all the memory it was made with.
    pub(crate) fn touch(&mut self) {
        crate::states::touch(&mut self.nodes, Node::default());
        self.reached.fill(0);
        self.rank.fill(0);
    }

    pub(crate) fn clear(&mut self) {
        self.nodes.clear();
        self.nodes.push(Node::default());
    }

    /// Moves the bits of all states into nodes; false when there is no room.
    pub(crate) fn close(&mut self, stretch: usize, states: &mut [State]) -> bool {
        let wanted = states.iter().filter(|state| state.bits != 0).count();
        if self.nodes.capacity() - self.nodes.len() < wanted {
            self.collect(states);
            if self.nodes.capacity() - self.nodes.len() < wanted {
                return false;
            }
        }
        for state in states {
            if state.bits != 0 {
                let node = Node {
                    bits: state.bits,
                    stretch: narrow(stretch),
                    parent: state.node,
                };
                state.node = narrow(self.nodes.len());
                state.bits = 0;
                self.nodes.push(node);
            }
        }
        true
    }

    /// Calls `change` with every core item, by its number in the core, that is
    /// changed on the way to `state`, whose own bits are of `stretch`.
    pub(crate) fn for_each_change(
        &self,
        state: &State,
        stretch: usize,
        mut change: impl FnMut(usize),
    ) {
        let mut of_stretch = |mut bits: u32, stretch: usize| {
            while bits != 0 {
                change(stretch * STRETCH + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        };
        of_stretch(state.bits, stretch);
        let mut at = state.node;
        while at != ROOT {
            let node = self.nodes[usize::from(at)];
            of_stretch(node.bits, usize::from(node.stretch));
            at = node.parent;
        }
    }

    /// Throws out the nodes that no state reaches.
    fn collect(&mut self, states: &mut [State]) {
        self.reached.fill(0);
        self.reach(ROOT);
        for state in states.iter() {
            self.reach(state.node);
        }
        // A parent stands before its children, so one way down reaches all.
        for at in (1..self.nodes.len()).rev() {
            if self.is_reached(narrow(at)) {
                self.reach(self.nodes[at].parent);
            }
        }
        let mut before = 0;
        for (word, rank) in self.reached.iter().zip(&mut self.rank) {
            *rank = before;
            before += narrow(word.count_ones() as usize);
        }
        for at in 0..self.nodes.len() {
            if self.is_reached(narrow(at)) {
                let mut node = self.nodes[at];
                node.parent = self.moved(node.parent);
                let to = self.moved(narrow(at));
                self.nodes[usize::from(to)] = node;
            }
        }
        self.nodes.truncate(usize::from(before));
        for state in states {
            state.node = self.moved(state.node);
        }
    }

    fn reach(&mut self, node: u16) {
        self.reached[usize::from(node / 64)] |= 1 << (node % 64);
    }

    fn is_reached(&self, node: u16) -> bool {
        self.reached[usize::from(node / 64)] & 1 << (node % 64) != 0
    }

    /// Where a reached node goes.
    fn moved(&self, node: u16) -> u16 {
        let word = usize::from(node / 64);
        let before = self.reached[word] & ((1 << (node % 64)) - 1);
        self.rank[word] + narrow(before.count_ones() as usize)
    }
}

/// Nodes and stretches are counted in 16 bits.
fn narrow(number: usize) -> u16 {
    u16::try_from(number).expect("fewer than 2^16 nodes, and 2^15 items have 2^10 stretches")
}
