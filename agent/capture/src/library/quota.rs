//! How many probed files, and files at all, each user may have.
//!
//! The probes of a file are two links where the kernel takes them together, and else one each, of which
//! a library wants six and a Go program nine. Each link is a descriptor and takes the kernel a tenth of a
//! second to remove. Whoever copies a library again and again gets no more of them than this, and has
//! no more files looked into.

use std::collections::HashMap;

use hopsight_system::foreign::Lane;

/// Links on files of the system's own user, of one other user, and of all others together.
const MAX_LINKS: [usize; 3] = [256, 32, 96];
/// Files that are kept account of, likewise.
const MAX_FILES: [usize; 3] = [2_048, 256, 2_048];
/// New files that are looked into between two scans, likewise.
const MAX_NEW: [usize; 3] = [2_048, 16, 64];

const ROOT: Lane = Lane::User(0);

/// What each user has.
#[derive(Debug, Default)]
pub struct Quota {
    of: HashMap<Lane, Used>,
    of_others: Used,
}

#[derive(Clone, Copy, Debug, Default)]
struct Used {
    links: usize,
    files: usize,
    new: usize,
}

impl Quota {
    /// A scan begins. Takes account of the files there are, by the owner and the number of links of
    /// each; everybody may have new ones looked into.
    pub fn renew(&mut self, files: impl Iterator<Item = (Lane, usize)>) {
        *self = Self::default();
        for (whose, links) in files {
            self.use_up(whose, Used { links, files: 1, new: 0 });
        }
    }

    /// Whether one more file of this user may be looked into now; counts it.
    pub fn admit_file(&mut self, whose: Lane) -> bool {
        self.admit(whose, Used { links: 0, files: 1, new: 1 })
    }

    /// Whether a file of this user may be probed by so many more links; counts them.
    pub fn admit_links(&mut self, whose: Lane, links: usize) -> bool {
        self.admit(whose, Used { links, files: 0, new: 0 })
    }

    fn admit(&mut self, whose: Lane, more: Used) -> bool {
        let own = self.of.get(&whose).copied().unwrap_or_default();
        let is_admitted = if whose == ROOT {
            own.has_room(more, 0)
        } else {
            own.has_room(more, 1) && self.of_others.has_room(more, 2)
        };
        if is_admitted {
            self.use_up(whose, more);
        }
        is_admitted
    }

    fn use_up(&mut self, whose: Lane, more: Used) {
        self.of.entry(whose).or_default().add(more);
        if whose != ROOT {
            self.of_others.add(more);
        }
    }
}

impl Used {
    fn add(&mut self, more: Self) {
        self.links += more.links;
        self.files += more.files;
        self.new += more.new;
    }

    /// Whether there is room for what is asked for, by the limits in this place.
    fn has_room(mut self, more: Self, limits: usize) -> bool {
        self.add(more);
        (more.links == 0 || self.links <= MAX_LINKS[limits])
            && (more.files == 0 || self.files <= MAX_FILES[limits])
            && (more.new == 0 || self.new <= MAX_NEW[limits])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Lane = Lane::User(1_000);

    #[test]
    fn copies_of_a_library_leave_room_for_others() {
        let mut quota = Quota::default();
        let files = (0..200).filter(|_| quota.admit_file(STRANGER)).count();
        let copies = (0..200).filter(|_| quota.admit_links(STRANGER, 2)).count();
        assert_eq!((files, copies), (16, 16));
        assert!(quota.admit_file(ROOT) && quota.admit_links(ROOT, 6));
        let other = Lane::User(1_001);
        assert!(quota.admit_file(other) && quota.admit_links(other, 6));
        quota.renew([(STRANGER, 24)].into_iter());
        assert!(quota.admit_file(STRANGER), "others have their turn with the next scan");
        assert!(quota.admit_links(STRANGER, 6), "what is gone makes room");
        assert!(!quota.admit_links(STRANGER, 6));
    }

    #[test]
    fn a_user_may_have_three_programs_whose_probes_are_attached_alone() {
        let mut quota = Quota::default();
        assert_eq!((0..9).filter(|_| quota.admit_links(STRANGER, 9)).count(), 3);
    }

    #[test]
    fn many_users_together_leave_room_for_the_system() {
        let mut quota = Quota::default();
        let users = || (1..1_000).map(Lane::User);
        let files = users().filter(|user| quota.admit_file(*user)).count();
        let probed = users().filter(|user| quota.admit_links(*user, 6)).count();
        assert_eq!((files, probed), (64, 96 / 6));
        assert!(quota.admit_file(ROOT) && quota.admit_links(ROOT, 6));
    }
}
