//! Who is a member, as small as it can be written down.

/// Most hosts in one world.
pub const MOST: usize = 5;

/// Set in a configuration entry of a learner.
const LEARNER: u8 = 0x40;

/// Set when the member has the second set of peer URLs.
const NEW_URLS: u8 = 0x20;

const NUMBER: u8 = 0x1f;

/// Members of a configuration, one entry per host: 0 is none; else the number of the member id, a flag for a learner, a flag for the URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Config(pub [u8; MOST]);

impl Config {
    /// The members of a plan, with the URLs that it lists.
    pub fn planned(hosts: u8, urls: u8) -> Self {
        let mut all = [0; MOST];
        for (h, entry) in all.iter_mut().enumerate() {
            if hosts & (1 << h) != 0 {
                *entry = 1 | if urls & (1 << h) != 0 { NEW_URLS } else { 0 };
            }
        }
        Config(all)
    }

    /// The number of this host's member id, learner or not.
    pub fn number(self, h: usize) -> Option<u8> {
        (self.0[h] != 0).then(|| (self.0[h] & NUMBER) - 1)
    }

    pub fn is_learner(self, h: usize) -> bool {
        self.0[h] & LEARNER != 0
    }

    pub fn has_new_urls(self, h: usize) -> bool {
        self.0[h] & NEW_URLS != 0
    }

    pub fn is_voter(self, h: usize, number: u8) -> bool {
        self.number(h) == Some(number) && !self.is_learner(h)
    }

    pub fn voters(self) -> u8 {
        (0..MOST).filter(|h| self.0[*h] != 0 && !self.is_learner(*h)).fold(0, |all, h| all | 1 << h)
    }

    pub fn majority(self) -> u32 {
        self.voters().count_ones() / 2 + 1
    }

    pub fn remove(&mut self, h: usize) {
        self.0[h] = 0;
    }

    pub fn add_learner(&mut self, h: usize, number: u8, new_urls: bool) {
        self.0[h] = (number + 1) | LEARNER | if new_urls { NEW_URLS } else { 0 };
    }

    pub fn add_voter(&mut self, h: usize, number: u8, new_urls: bool) {
        self.add_learner(h, number, new_urls);
        self.promote(h);
    }

    pub fn promote(&mut self, h: usize) {
        self.0[h] &= !LEARNER;
    }
}
