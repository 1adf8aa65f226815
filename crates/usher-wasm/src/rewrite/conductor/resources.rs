//! The resource types that a component imports, which are those that a run can leave handles of.
//!
//! Deliberately absent: resource types of the component's own. They rule out live serving.

use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType, ResourceId};
use wasmparser::types::Types;

use super::super::survey::Survey;
use super::super::verdict::ImportedResource;
use super::super::world::{self, Handler};
use super::super::{RELEASE_OUTPARAM, RELEASE_REQUEST};

/// Imported resource types that handles are released of. A proxy of wasi:http 0.2 has about 20.
const RESOURCES_MAX: usize = 256;

/// The handler's arguments in their order: the name of the type, and the bit that drops it.
const ARGUMENTS: [(&str, u32); 2] = [
    ("incoming-request", RELEASE_REQUEST),
    ("response-outparam", RELEASE_OUTPARAM),
];

/// A resource type that an imported instance exports.
pub(super) struct Imported<'a> {
    pub(super) instance: u32,
    pub(super) name: &'a str,
    interface: &'a str,
    id: ResourceId,
}

impl Imported<'_> {
    pub(super) fn describe(&self) -> ImportedResource {
        ImportedResource {
            interface: self.interface.to_owned(),
            name: self.name.to_owned(),
        }
    }
}

/// All imported resource types, each one once, where it is first exported.
pub(super) fn imported<'a>(survey: &Survey<'a>, types: &'a Types) -> Vec<Imported<'a>> {
    let types = types.as_ref();
    let mut resources: Vec<Imported<'a>> = Vec::new();
    for (interface, instance) in &survey.imports {
        let exports = types.get(types.component_instance_at(*instance));
        for (name, item) in exports.into_iter().flat_map(|instance| &instance.exports) {
            let ComponentEntityType::Type { created, .. } = item.ty else {
                continue;
            };
            let ComponentAnyTypeId::Resource(id) = created else {
                continue;
            };
            let id = id.resource();
            let known = resources.iter().any(|resource| resource.id == id);
            if !known && resources.len() < RESOURCES_MAX {
                resources.push(Imported {
                    instance: *instance,
                    name,
                    interface,
                    id,
                });
            }
        }
    }
    resources
}

/// An argument of the handler that can be released.
pub(super) struct Argument {
    /// The number of its handle in each run.
    pub(super) number: i32,
    pub(super) bit: u32,
    /// The place of its type among the imported ones.
    pub(super) resource: u32,
}

/// The arguments whose types come from `wasi:http/types` in the handler's version, or else in any
/// released one.
pub(super) fn arguments(resources: &[Imported<'_>], handler: Handler<'_>) -> Vec<Argument> {
    let arguments = (1..).zip(ARGUMENTS).filter_map(|(number, (name, bit))| {
        let places = (0_u32..).zip(resources).filter_map(|(place, resource)| {
            let version = resource.interface.strip_prefix("wasi:http/types@")?;
            let fits = resource.name == name && world::released(version, "0.2.");
            fits.then_some((version != handler.version, place))
        });
        let (_, resource) = places.min()?;
        Some(Argument {
            number,
            bit,
            resource,
        })
    });
    arguments.collect()
}
