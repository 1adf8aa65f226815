//! Appends the conductor to a component: one core module that calls every `save` and every `reset`,
//! and puts the numbering of handles back.
//!
//! **Why numbers matter.** The runtime's table of handles outlives the swap of memories. Two things
//! in it can be read by the next request: a handle that is left, and the *order* of the free
//! numbers, which come out last in, first out.
//!
//! **What is done.** `renew(release, n)` takes `n` handles of a resource type that exists for this
//! purpose only, and gives them back from the highest number down.
//!
//! - Numbers that are held at the same time differ, and none is 0. So if none of `n` numbers
//!   exceeds `n`, they are exactly 1 to `n`: nobody else holds one of them. If one exceeds `n`,
//!   some smaller number is held, or `n` was too small; both trap.
//! - Given back from `n` down to 1, they come out as 1, 2, … `n`: the order of a fresh instance.
//! - `n` must be at least the most handles that the run held at once. A run cannot reach a number
//!   above that many, because every free number below comes out before the table grows, and, by
//!   induction, the numbers behind were in order before it. A smaller `n` leaves the order of the
//!   numbers above `n` as the run made it whenever 1 to `n` happen to come out first, which cannot
//!   be seen from here: the host counts, generously, every call that can make a handle.
//!
//! With the numbering canonical, the request's handle is 1 and the response-outparam's is 2, in
//! every run: the handler's arguments are the first handles that are made. So `release` can drop
//! them without having seen them; a wrong type or a free number traps.
//!
//! **Leaks of a tool chain.** Some engines leave every handle to the end of their instance (fetch
//! events of componentize-js: the request, its headers, and all of an outbound call). `release`
//! drops one handle by the place of its type among the imported resource types. The host knows the
//! types of what is left in its own table but not the numbers; it guesses, since both tables hand
//! numbers out alike: the host's index plus one. A wrong guess either traps or drops another handle
//! of the same type that is left as well, and `renew` proves the end result.
//!
//! **Reading and writing.** A third export answers the saved globals one by one, so that clones of
//! the image can be made with them from the start ([`clone`](super::clone)); a fourth one sets
//! them, so that another instance can be given the image of one that was warmed up.
//!
//! **Where the memories are.** At its end `renew` hands an empty piece of each memory to a function
//! of the host ([`BASE_IMPORT`]), with that memory as the canonical option. The runtime finds the
//! piece through the base in the instance's context, the one that compiled code reads, so the host
//! learns the pointer itself.
//!
//! The appended items, in order: aliases, types, the import, the module, its imports, its instance,
//! the lifts, the exports. Deliberately absent: when the host calls what.

mod resources;
mod score;

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection,
    ComponentExportKind, ComponentExportSection, ComponentImportSection, ComponentTypeRef,
    ComponentTypeSection, ComponentValType, ExportKind, InstanceSection, ModuleArg, ModuleSection,
    PrimitiveValType, ValType,
};
use wasmparser::{BinaryReaderError, types::Types};

use super::module;
use super::sections;
use super::shadow;
use super::survey::{self, Survey};
use super::verdict::LiveExports;
use super::world::Handler;
use resources::{Argument, Imported};
use score::Score;

/// The function `func(bytes: list<u8>)` that the rewritten component imports.
pub const BASE_IMPORT: &str = "usher-base";

/// The whole component: the input's sections with its core modules rewritten, then the conductor.
pub(super) fn append(
    survey: &Survey<'_>,
    modules: &[module::Module<'_>],
    types: &Types,
    handler: Handler<'_>,
    suffix: &str,
) -> Result<(Vec<u8>, LiveExports), BinaryReaderError> {
    let mut bytes = survey.header.to_vec();
    let mut rewritten = modules.iter();
    for section in &survey.sections {
        let module = match section.id {
            survey::id::CORE_MODULE => rewritten.next(),
            _ => None,
        };
        let body = match module {
            Some(module) => shadow::append(module, suffix)?,
            None => None,
        };
        sections::push(
            &mut bytes,
            section.id,
            body.as_deref().unwrap_or(section.body),
        );
    }
    let resources = resources::imported(survey, types);
    let arguments = resources::arguments(&resources, handler);
    let stateful = survey.core_instances.iter().enumerate();
    let stateful = stateful.filter_map(|(instance, module)| {
        let module = modules
            .get((*module)?)
            .filter(|module| module.has_state())?;
        Some(Stateful {
            instance: u32::try_from(instance).ok()?,
            globals: count(&module.mutable_globals),
            memories: module.memories.len(),
        })
    });
    let plan = Conductor {
        instances: stateful.collect(),
        resources,
        arguments,
        types,
        suffix,
    };
    let exports = LiveExports {
        save: format!("usher-save-{suffix}"),
        renew: format!("usher-renew-{suffix}"),
        release: format!("usher-release-{suffix}"),
        read: format!("usher-read-{suffix}"),
        write: format!("usher-write-{suffix}"),
        resources: plan.resources.iter().map(Imported::describe).collect(),
        releasable: plan.arguments.iter().map(|argument| argument.bit).sum(),
        globals: plan.instances.iter().map(|instance| instance.globals).sum(),
    };
    let appended = plan.sections(&exports).finish();
    bytes.extend_from_slice(&appended[sections::HEADER_BYTES..]);
    Ok((bytes, exports))
}

/// A core instance that has something to put back.
struct Stateful {
    instance: u32,
    globals: u32,
    memories: usize,
}

struct Conductor<'a> {
    instances: Vec<Stateful>,
    resources: Vec<Imported<'a>>,
    arguments: Vec<Argument>,
    types: &'a Types,
    suffix: &'a str,
}

impl Conductor<'_> {
    /// A component that holds the added sections alone; its indices count on from the input's.
    fn sections(&self, exports: &LiveExports) -> Component {
        let memories = self.memories();
        let score = Score::new(&self.instances, &self.resources, &self.arguments, memories);
        let mut component = Component::new();
        component.section(&self.aliases());
        component.section(&self.types());
        component.section(&self.import());
        component.section(&ModuleSection(&score.module()));
        component.section(&self.canonicals());
        component.section(&self.instances(&score));
        self.lift(&mut component, &score, exports);
        component
    }

    /// The core functions that the conductor calls in each instance, and the resource types.
    fn aliases(&self) -> ComponentAliasSection {
        let mut aliases = ComponentAliasSection::new();
        for name in &shadow::names(self.suffix) {
            for Stateful { instance, .. } in &self.instances {
                aliases.alias(Alias::CoreInstanceExport {
                    instance: *instance,
                    kind: ExportKind::Func,
                    name,
                });
            }
        }
        for resource in &self.resources {
            aliases.alias(Alias::InstanceExport {
                instance: resource.instance,
                kind: ComponentExportKind::Type,
                name: resource.name,
            });
        }
        for Stateful {
            instance, memories, ..
        } in &self.instances
        {
            for place in 0..*memories {
                aliases.alias(Alias::CoreInstanceExport {
                    instance: *instance,
                    kind: ExportKind::Memory,
                    name: &shadow::memory_name(place, self.suffix),
                });
            }
        }
        aliases
    }

    /// Memories of all instances, each of which is asked for its base after a renewal.
    fn memories(&self) -> u32 {
        let memories = self.instances.iter().map(|instance| instance.memories);
        u32::try_from(memories.sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// The host's function that reads the base of a memory.
    fn import(&self) -> ComponentImportSection {
        let mut imports = ComponentImportSection::new();
        // Behind the resource: five lifted functions' types, and the list of bytes.
        let ty = self.number_type() + 7;
        imports.import(BASE_IMPORT, ComponentTypeRef::Func(ty));
        imports
    }

    /// The index of the resource type for taking numbers; the imported types are before it, the
    /// types of the lifted functions behind it.
    fn number_type(&self) -> u32 {
        self.types.as_ref().component_type_count() + count(&self.resources)
    }

    fn types(&self) -> ComponentTypeSection {
        let [u32_type, u64_type] = [PrimitiveValType::U32, PrimitiveValType::U64];
        let [u32_type, u64_type] = [u32_type, u64_type].map(ComponentValType::Primitive);
        let none: [(&str, ComponentValType); 0] = [];
        let renew = [("release", u32_type), ("n", u32_type)];
        let release = [("resource", u32_type), ("number", u32_type)];
        let read = [("place", u32_type), ("half", u32_type)];
        let write = [("place", u32_type), ("low", u64_type), ("high", u64_type)];
        let mut types = ComponentTypeSection::new();
        types.ty().resource(ValType::I32, None);
        types.function().params(none).result(None);
        types.function().params(renew).result(Some(u32_type));
        types.function().params(release).result(None);
        types.function().params(read).result(Some(u64_type));
        types.function().params(write).result(None);
        types.defined_type().list(PrimitiveValType::U8);
        let bytes = ComponentValType::Type(self.number_type() + 6);
        types.function().params([("bytes", bytes)]).result(None);
        types
    }

    /// Taking and giving back numbers, and dropping a resource of each type.
    fn canonicals(&self) -> CanonicalFunctionSection {
        let number = self.number_type();
        let mut canonicals = CanonicalFunctionSection::new();
        canonicals.resource_new(number).resource_drop(number);
        for ty in self.types.as_ref().component_type_count()..number {
            canonicals.resource_drop(ty);
        }
        let types = self.types.as_ref();
        for memory in (types.memory_count()..).take(self.memories() as usize) {
            let options = [CanonicalOption::Memory(memory)];
            canonicals.lower(types.component_function_count(), options);
        }
        canonicals
    }

    /// The bundle of all core functions added so far, and the conductor's instance behind it.
    fn instances(&self, score: &Score<'_>) -> InstanceSection {
        let types = self.types.as_ref();
        let functions = (0..score.imports).zip(types.function_count()..);
        let functions = functions.map(|(place, function)| {
            let name = place.to_string();
            (name, ExportKind::Func, function)
        });
        let functions: Vec<_> = functions.collect();
        let bundle = ModuleArg::Instance(types.core_instance_count());
        let mut instances = InstanceSection::new();
        instances.export_items(functions);
        instances.instantiate(types.module_count(), [("", bundle)]);
        instances
    }

    /// Lifts and exports what the conductor's instance exports.
    fn lift(&self, component: &mut Component, score: &Score<'_>, exports: &LiveExports) {
        let types = self.types.as_ref();
        let mut aliases = ComponentAliasSection::new();
        let mut lifts = CanonicalFunctionSection::new();
        let mut exported = ComponentExportSection::new();
        let core = types.function_count() + score.imports;
        let names = [
            &exports.save,
            &exports.renew,
            &exports.release,
            &exports.read,
            &exports.write,
        ];
        // Each export takes an index too, behind all of the lifted functions.
        // The import has taken one before them.
        let lifted = types.component_function_count() + 1..;
        let places = (core..).zip(self.number_type() + 1..).zip(lifted);
        let names = score::EXPORTS.into_iter().zip(names);
        for (((core, ty), function), (core_name, name)) in places.zip(names) {
            aliases.alias(Alias::CoreInstanceExport {
                instance: types.core_instance_count() + 1,
                kind: ExportKind::Func,
                name: core_name,
            });
            lifts.lift(core, ty, []);
            exported.export(name.as_str(), ComponentExportKind::Func, function, None);
        }
        component.section(&aliases);
        component.section(&lifts);
        component.section(&exported);
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}
