//! The number of peers of each swarm, in a form from which any peer of all swarms is drawn with equal probability.
//!
//! This is a Fenwick tree over the positions of the swarms: four bytes for each swarm, and as many steps as a position
//! has bits.

/// The sizes of all swarms by position.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Node `i` holds the sum of the `lowest_bit(i)` sizes that end at position `i - 1`. Node 0 is not stored.
    nodes: Vec<u32>,
}

const fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

impl Sizes {
    pub(super) const fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    /// Adds a swarm without peers after the last one.
    pub(super) fn push_empty(&mut self) {
        let node = self.nodes.len() + 1;
        let first = node - lowest_bit(node);
        let (mut child, mut sum) = (node - 1, 0);
        while child > first {
            sum += self.nodes[child - 1];
            child -= lowest_bit(child);
        }
        self.nodes.push(sum);
    }

    /// Removes the last swarm, whatever its size.
    pub(super) fn pop(&mut self) {
        self.nodes.pop();
    }

    /// The size of the swarm at this position changes from `before` to `after`.
    pub(super) fn change(&mut self, at: usize, before: usize, after: usize) {
        let delta = short(after).wrapping_sub(short(before));
        let mut node = at + 1;
        while delta != 0 && node <= self.nodes.len() {
            self.nodes[node - 1] = self.nodes[node - 1].wrapping_add(delta);
            node += lowest_bit(node);
        }
    }

    /// The swarm that holds peer number `nth`, counted through all swarms, and the number of the peer in it. `None`
    /// beyond the last.
    pub(super) fn find(&self, nth: usize) -> Option<(usize, usize)> {
        let (mut at, mut rest) = (0, short(nth));
        let mut step = (self.nodes.len() + 1).next_power_of_two() / 2;
        while step > 0 {
            if let Some(sum) = self.nodes.get(at + step - 1).filter(|sum| **sum <= rest) {
                rest -= sum;
                at += step;
            }
            step /= 2;
        }
        (at < self.nodes.len()).then_some((at, rest as usize))
    }

    pub(super) fn shrink_to(&mut self, capacity: usize) {
        self.nodes.shrink_to(capacity);
    }
}

/// A count as `u32`. Peers are limited to 100 million.
fn short(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Compares with a plain list of sizes.
        #[test]
        fn every_peer_is_found_in_its_swarm(steps in prop::collection::vec((0_u8..4, any::<usize>(), 0_usize..9), 0..200)) {
            let (mut sizes, mut model) = (Sizes::default(), Vec::<usize>::new());
            for (kind, at, size) in steps {
                match kind {
                    0 | 1 => {
                        sizes.push_empty();
                        model.push(0);
                    }
                    2 if !model.is_empty() => {
                        let at = at % model.len();
                        sizes.change(at, model[at], size);
                        model[at] = size;
                    }
                    _ => {
                        sizes.pop();
                        model.pop();
                    }
                }
            }
            let all = model.iter().enumerate().flat_map(|(at, size)| (0..*size).map(move |nth| (at, nth)));
            let all: Vec<_> = all.collect();
            let found: Vec<_> = (0..all.len()).map_while(|nth| sizes.find(nth)).collect();
            prop_assert_eq!(&found, &all);
            prop_assert_eq!(sizes.find(all.len()), None);
        }
    }
}
