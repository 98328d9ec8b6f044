//! Channels that can only go together, and those that stay.

/// Sets of channels, known by their numbers.
#[derive(Debug, Default)]
pub(super) struct Sets {
    parents: Vec<u32>,
    /// Of the first of a set: the reason for which it stays.
    fixed: Vec<Option<u32>>,
    reasons: Vec<String>,
}

impl Sets {
    /// Channels that nothing is known of.
    pub fn fresh(&mut self, count: usize) -> Vec<u32> {
        let first = self.parents.len() as u32;
        let own: Vec<u32> = (first..first + count as u32).collect();
        self.parents.extend(&own);
        self.fixed.resize(self.parents.len(), None);
        own
    }

    /// The first of a channel's set.
    pub fn root(&self, channel: u32) -> u32 {
        let mut own = channel;
        while self.parents[own as usize] != own {
            own = self.parents[own as usize];
        }
        own
    }

    /// Lets channels at the same places go together.
    pub fn join(&mut self, a: &[u32], b: &[u32]) {
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (self.root(*a), self.root(*b));
            let (first, other) = (a.min(b), a.max(b));
            self.parents[other as usize] = first;
            self.fixed[first as usize] = self.fixed[first as usize].or(self.fixed[other as usize]);
        }
    }

    /// Lets channels stay.
    pub fn fix(&mut self, channels: &[u32], why: impl FnOnce() -> String) {
        let number = self.reasons.len() as u32;
        self.reasons.push(why());
        for channel in channels {
            let root = self.root(*channel) as usize;
            self.fixed[root] = self.fixed[root].or(Some(number));
        }
    }

    /// Why a channel stays; `None` for one that can go.
    pub fn why(&self, channel: u32) -> Option<&str> {
        let number = self.fixed[self.root(channel) as usize]?;
        self.reasons.get(number as usize).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_stays_together() {
        let mut sets = Sets::default();
        let (a, b, c) = (sets.fresh(2), sets.fresh(2), sets.fresh(2));
        sets.fix(&c[1..], || "it is an output".into());
        sets.join(&b, &a);
        assert_eq!((sets.root(b[1]), sets.why(b[1])), (a[1], None));
        sets.join(&b, &c);
        assert_eq!(sets.why(a[0]), None);
        assert_eq!(sets.why(a[1]), Some("it is an output"));
    }
}
