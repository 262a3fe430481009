//! Reads which modules the paths in the sources lead to, through imports, re-exports and aliases.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{Item, UseTree, visit::Visit};

/// A path from the root of the crate, or from another crate if it begins with [`EXTERNAL`].
type Segments = Vec<String>;

/// Marks a path that begins with the name of another crate.
const EXTERNAL: &str = "::";
/// Re-exports that refer to each other must end somewhere.
const MAX_STEPS: usize = 64;

/// One file or inline module.
#[derive(Default)]
struct Module {
    /// Names that `use` and type aliases bring in, with the paths that they stand for.
    names: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
    /// Items that are defined here, modules included.
    items: BTreeSet<String>,
    /// Every path that occurs in the code, imports included.
    paths: BTreeSet<Segments>,
}

/// The sources of a crate.
#[derive(Default)]
pub struct Sources {
    modules: BTreeMap<Segments, Module>,
    /// Re-exports that are not followed.
    offered: BTreeSet<Segments>,
}

/// A path in the code that leads out of its top-level module.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The module that contains the path, `cli::eval`, and its top-level module.
    pub module: String,
    pub top_level: String,
    /// The path as it is written there.
    pub path: String,
    /// The top-level module or the other crate that is used.
    pub owner: String,
}

impl Sources {
    /// Reads all files of a folder. A path that leads to a re-export named in `offered` is taken to
    /// end there.
    pub fn read(folder: &Path, offered: &[&str]) -> Self {
        let mut sources = Self::default();
        sources.add_folder(folder, &[]);
        for path in offered {
            let path: Segments = path.split("::").map(str::to_owned).collect();
            let (name, place) = path.split_last().unwrap();
            assert!(
                sources
                    .modules
                    .get(place)
                    .is_some_and(|module| module.names.contains_key(name)),
                "{} is not a re-export",
                path.join("::")
            );
            sources.offered.insert(path);
        }
        sources
    }

    /// Modules without files: the path of each, `eval::log`, and its code.
    pub fn from_texts(modules: &[(&str, &str)]) -> Self {
        let mut sources = Self::default();
        for (path, text) in modules {
            let path = path
                .split("::")
                .filter(|name| *name != "lib")
                .map(str::to_owned);
            sources.add_file(text, path.collect());
        }
        sources
    }

    fn add_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let mut inner = module.to_vec();
            if !["lib", "mod"].contains(&name.as_str()) {
                inner.push(name);
            }
            if path.is_dir() {
                self.add_folder(&path, &inner);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add_file(&fs::read_to_string(&path).unwrap(), inner);
            }
        }
    }

    fn add_file(&mut self, text: &str, module: Segments) {
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{}: {e}", module.join("::")));
        let mut reader = Reader {
            sources: self,
            module,
        };
        reader.visit_file(&file);
    }

    /// The top-level modules that contain code, `lib` for the root.
    pub fn top_level(&self) -> BTreeSet<String> {
        self.modules.keys().map(|path| top_level(path)).collect()
    }

    pub fn dependencies(&self) -> BTreeSet<Dependency> {
        let mut found = BTreeSet::new();
        for (place, module) in &self.modules {
            for path in &module.paths {
                for owner in self.owners(place, path) {
                    if owner != top_level(place) {
                        found.insert(Dependency {
                            module: place.join("::"),
                            top_level: top_level(place),
                            path: path.join("::"),
                            owner,
                        });
                    }
                }
            }
        }
        found
    }

    /// The modules that a path goes through. An item belongs to the module that defines it, however
    /// many others re-export it.
    fn owners(&self, place: &[String], path: &[String]) -> BTreeSet<String> {
        let mut owners = BTreeSet::new();
        if let Some(path) = self.absolute(place, path) {
            self.follow(&path, &mut owners, MAX_STEPS);
        }
        owners
    }

    /// A path as seen from the root; `None` if it begins with a local name or a type parameter.
    fn absolute(&self, place: &[String], path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" | "ttsvar" => vec![],
            "self" => place.to_vec(),
            "super" => {
                let outer = place.split_last()?.1;
                let relative = [&["self".to_owned()], rest].concat();
                return self.absolute(outer, &relative);
            }
            EXTERNAL => return Some(path.to_vec()),
            "Self" => return None,
            name => {
                let module = self.modules.get(place)?;
                let known = module.names.contains_key(name) || module.items.contains(name);
                match known {
                    true => return Some([place, path].concat()),
                    false if name.starts_with(char::is_lowercase) => {
                        return Some([&[EXTERNAL.to_owned()], path].concat());
                    }
                    false => return None,
                }
            }
        };
        let supers = rest
            .iter()
            .take_while(|segment| *segment == "super")
            .count();
        start.truncate(start.len().checked_sub(supers)?);
        start.extend_from_slice(&rest[supers..]);
        Some(start)
    }

    fn follow(&self, path: &[String], owners: &mut BTreeSet<String>, steps: usize) {
        assert!(steps > 0, "{} leads to itself", path.join("::"));
        if path.first().is_some_and(|first| first == EXTERNAL) {
            owners.extend(path.get(1).cloned());
            return;
        }
        let mut place: &[String] = &[];
        for (at, name) in path.iter().enumerate() {
            let inner = &path[..=at];
            let goes_on = at + 1 < path.len();
            if goes_on && self.modules.contains_key(inner) {
                place = inner;
                continue;
            }
            if self.offered.contains(inner) {
                break;
            }
            if let Some(target) = self.target(place, name) {
                if !place.is_empty() {
                    owners.insert(top_level(place));
                }
                self.follow(&[&target, &path[at + 1..]].concat(), owners, steps - 1);
                return;
            }
            if self.modules.contains_key(inner) {
                place = inner;
            }
            break;
        }
        owners.insert(top_level(place));
    }

    /// What a name stands for that a module imports.
    fn target(&self, place: &[String], name: &str) -> Option<Segments> {
        let module = &self.modules[place];
        if let Some(path) = module.names.get(name) {
            let is_module = self
                .modules
                .contains_key(&[place, &[name.to_owned()]].concat());
            if path.first().is_some_and(|first| first == name) && !is_module {
                return Some([&[EXTERNAL.to_owned()], path.as_slice()].concat());
            }
            return self.absolute(place, path);
        }
        if module.items.contains(name) {
            return None;
        }
        module.globs.iter().find_map(|glob| {
            let target = self.absolute(place, glob)?;
            let other = self.modules.get(&target)?;
            let defines = other.items.contains(name) || other.names.contains_key(name);
            defines.then(|| [target, vec![name.to_owned()]].concat())
        })
    }
}

fn top_level(path: &[String]) -> String {
    path.first().map_or("lib", String::as_str).to_owned()
}

/// Collects the names and paths of one file.
struct Reader<'s> {
    sources: &'s mut Sources,
    module: Segments,
}

impl Reader<'_> {
    fn here(&mut self) -> &mut Module {
        self.sources.modules.entry(self.module.clone()).or_default()
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(tree) => self.add_use(&tree.tree, &with(&tree.ident)),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, before);
                }
            }
            UseTree::Glob(_) => {
                self.here().globs.push(before.to_vec());
                self.here().paths.insert(before.to_vec());
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.add_name(before.last().unwrap().clone(), before.to_vec());
            }
            UseTree::Name(name) => self.add_name(name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(rename) if rename.ident == "self" => {
                self.add_name(rename.rename.to_string(), before.to_vec());
            }
            UseTree::Rename(rename) => {
                self.add_name(rename.rename.to_string(), with(&rename.ident));
            }
        }
    }

    fn add_name(&mut self, name: String, path: Segments) {
        self.here().paths.insert(path.clone());
        self.here().names.entry(name).or_insert(path);
    }

    /// The paths among the tokens of a macro call.
    fn add_tokens(&mut self, tokens: &str) {
        let text = tokens.replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let path: Segments = word.split("::").map(str::to_owned).collect();
            if path.len() > 1 && path.iter().all(|segment| !segment.is_empty()) {
                self.here().paths.insert(path);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.here();
        syn::visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Macro(item) => item.ident.as_ref(),
            Item::Mod(item) => Some(&item.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        if let Some(name) = name {
            let name = name.to_string();
            self.here().items.insert(name);
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            self.here();
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let before = leading(item.leading_colon.is_some());
        self.add_use(&item.tree, &before);
    }

    /// `type Name = path` is one more way to hand on what another module defines.
    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if let syn::Type::Path(target) = item.ty.as_ref() {
            let path = segments(&target.path);
            if path.last().is_some_and(|last| item.ident != last) || path.len() > 1 {
                self.add_name(item.ident.to_string(), path);
            }
        }
        syn::visit::visit_item_type(self, item);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let found = segments(path);
        if found.len() > 1 {
            self.here().paths.insert(found);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let tokens = item.tokens.to_string();
        self.add_tokens(&tokens);
        syn::visit::visit_macro(self, item);
    }
}

fn segments(path: &syn::Path) -> Segments {
    let names = path
        .segments
        .iter()
        .map(|segment| segment.ident.to_string());
    let mut found = leading(path.leading_colon.is_some());
    found.extend(names);
    found
}

/// The beginning of `::name`, which is always the name of another crate.
fn leading(colon: bool) -> Segments {
    colon.then(|| EXTERNAL.to_owned()).into_iter().collect()
}
