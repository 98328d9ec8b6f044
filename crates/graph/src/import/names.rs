//! Finding nodes by name: a table of numbers beside the nodes, which holds no name a second time.

use std::hash::{BuildHasher, RandomState};

/// An empty place of the table.
const EMPTY: u32 = u32::MAX;

/// The numbers of nodes by their names.
pub struct Names {
    /// A power of two of places, at least twice as many as names; a name is at its hash or after it.
    places: Vec<u32>,
    hasher: RandomState,
}

impl Names {
    /// Bytes that it takes for so many names.
    pub fn bytes(count: usize) -> u64 {
        (Names::places(count) * size_of::<u32>()) as u64
    }

    fn places(count: usize) -> usize {
        (2 * count + 1).next_power_of_two()
    }

    /// The table of `count` names.
    ///
    /// # Errors
    /// The number of a name that an earlier one is equal to.
    pub fn new<'n>(count: usize, name: impl Fn(usize) -> &'n str) -> Result<Names, usize> {
        // The keys of the hash are random: no file can choose names that all fall into one place.
        let mut names = Names { places: vec![EMPTY; Names::places(count)], hasher: RandomState::new() };
        for number in 0..count {
            let place = names.place(name(number), &name);
            if names.places[place] != EMPTY {
                return Err(number);
            }
            names.places[place] = number as u32;
        }
        Ok(names)
    }

    /// Where `wanted` is, or would be.
    fn place<'n>(&self, wanted: &str, name: impl Fn(usize) -> &'n str) -> usize {
        let mask = self.places.len() - 1;
        let mut place = self.hasher.hash_one(wanted) as usize & mask;
        while self.places[place] != EMPTY && name(self.places[place] as usize) != wanted {
            place = (place + 1) & mask;
        }
        place
    }

    /// The number of `wanted`; `name` gives the names that the table was made of.
    pub fn find<'n>(&self, wanted: &str, name: impl Fn(usize) -> &'n str) -> Option<usize> {
        let number = self.places[self.place(wanted, name)];
        (number != EMPTY).then_some(number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_name_and_no_other() {
        let names: Vec<String> = (0..1000).map(|i| format!("scope/node_{i}")).collect();
        let table = Names::new(names.len(), |i| &names[i]).unwrap();
        for (i, name) in names.iter().enumerate() {
            assert_eq!(table.find(name, |i| &names[i]), Some(i));
        }
        assert_eq!(table.find("scope/node_1000", |i| &names[i]), None);
        assert_eq!(Names::new(0, |_| "").unwrap().find("", |_| ""), None);
        assert_eq!(Names::new(3, |i| ["a", "b", "a"][i]).err(), Some(2));
    }
}
