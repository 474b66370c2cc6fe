//! Objects of one kind, by their names. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::services::{MAX_OBJECTS, ObjectName};

/// What is kept of the objects of one kind, in the order of their names, so that an answer does not
/// change by itself.
#[derive(Clone, Debug)]
pub struct Objects<T>(BTreeMap<ObjectName, T>);

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Objects<T> {
    /// Adds an object, or replaces or (with `None`) removes it. Says whether there was room for it:
    /// beyond [`MAX_OBJECTS`] none is added.
    pub fn set(&mut self, name: ObjectName, object: Option<T>) -> bool {
        match object {
            None => drop(self.0.remove(&name)),
            Some(object) if self.0.len() < MAX_OBJECTS || self.0.contains_key(&name) => {
                self.0.insert(name, object);
            }
            Some(_) => return false,
        }
        true
    }

    /// Forgets every object that is not among `names`: what a new listing does not have is gone.
    pub fn retain(&mut self, names: &HashSet<ObjectName>) {
        self.0.retain(|name, _| names.contains(name));
    }

    /// The object of this name.
    #[must_use]
    pub fn get(&self, name: &ObjectName) -> Option<&T> {
        self.0.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectName, &T)> {
        self.0.iter()
    }

    /// Those of one namespace.
    pub fn within(&self, namespace: &str) -> impl Iterator<Item = (&ObjectName, &T)> + use<'_, T> {
        let namespace: Arc<str> = namespace.into();
        let all = self.0.range((namespace.clone(), Arc::from(""))..);
        all.take_while(move |((of, _), _)| *of == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(namespace: &str, name: &str) -> ObjectName {
        (namespace.into(), name.into())
    }

    #[test]
    fn objects_are_kept_by_their_names_and_bounded() {
        let mut all = Objects::default();
        for (namespace, of) in [("shop", "b"), ("shop", "a"), ("shoq", "a"), ("shoo", "z")] {
            all.set(name(namespace, of), Some(of.to_owned()));
        }
        let within: Vec<_> = all.within("shop").map(|(_, of)| of.as_str()).collect();
        assert_eq!(within, ["a", "b"]);
        all.retain(&HashSet::from([name("shop", "b")]));
        all.set(name("shop", "b"), None);
        assert_eq!(all.iter().count(), 0);
        for number in 0..=MAX_OBJECTS {
            let has_room = all.set(name("shop", &number.to_string()), Some(String::new()));
            assert_eq!(has_room, number < MAX_OBJECTS);
        }
        assert_eq!(all.iter().count(), MAX_OBJECTS);
        assert_eq!(all.get(&name("shop", &MAX_OBJECTS.to_string())), None);
        all.set(name("shop", "7"), Some("changed".to_owned()));
        assert_eq!(all.get(&name("shop", "7")).map(String::as_str), Some("changed"));
    }
}
