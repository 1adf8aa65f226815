//! The conductor's core module: the order in which everything is put back.
//!
//! It has no memory, table or global, so it has no state of its own. Deliberately absent: how the
//! imports are found.

use std::ops::Range;

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Module, TypeSection, ValType,
};

use super::resources::{Argument, Imported};
use super::{Stateful, count};

/// What the module exports, in the order of its functions.
pub(super) const EXPORTS: [&str; 5] = ["save", "renew", "release", "read", "write"];

/// Functions that each instance with state has for the conductor.
const PER_INSTANCE: u32 = 4;

/// The conductor's core module. Its imports: saves, resets, reads, writes, take, give, one drop per
/// imported resource type, one reading of the base per memory.
pub(super) struct Score<'a> {
    instances: &'a [Stateful],
    resources: u32,
    arguments: &'a [Argument],
    memories: u32,
    pub(super) imports: u32,
}

/// Types of the conductor's module, by index.
const NULLARY: u32 = 0;
const TAKE: u32 = 1;
const GIVE: u32 = 2;
const RENEW: u32 = 3;
const READ: u32 = 4;
const RELEASE: u32 = 5;
const WRITE: u32 = 6;

impl<'a> Score<'a> {
    pub(super) fn new(
        instances: &'a [Stateful],
        resources: &[Imported<'_>],
        arguments: &'a [Argument],
        memories: u32,
    ) -> Self {
        let resources = count(resources);
        Score {
            instances,
            resources,
            arguments,
            memories,
            imports: PER_INSTANCE * count(instances) + 2 + resources + memories,
        }
    }

    fn saves(&self) -> Range<u32> {
        0..count(self.instances)
    }

    fn resets(&self) -> Range<u32> {
        self.saves().end..2 * self.saves().end
    }

    fn reads(&self) -> Range<u32> {
        self.resets().end..3 * self.saves().end
    }

    fn writes(&self) -> Range<u32> {
        self.reads().end..self.take()
    }

    fn take(&self) -> u32 {
        PER_INSTANCE * count(self.instances)
    }

    fn give(&self) -> u32 {
        self.take() + 1
    }

    /// The function that drops a resource of the type at `place`.
    fn drop(&self, place: u32) -> u32 {
        self.give() + 1 + place
    }

    /// The functions that hand the host an empty piece of each memory.
    fn bases(&self) -> Range<u32> {
        self.imports - self.memories..self.imports
    }

    pub(super) fn module(&self) -> Module {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([ValType::I32], []);
        types.ty().function([ValType::I32; 2], [ValType::I32]);
        types.ty().function([ValType::I32; 2], [ValType::I64]);
        types.ty().function([ValType::I32; 2], []);
        let [place, half] = [ValType::I32, ValType::I64];
        types.ty().function([place, half, half], []);
        let mut imports = ImportSection::new();
        for place in 0..self.imports {
            let ty = match place {
                _ if place < self.resets().end => NULLARY,
                _ if place < self.reads().end => READ,
                _ if place < self.take() => WRITE,
                _ if place == self.take() => TAKE,
                _ if place < self.bases().start => GIVE,
                _ => RELEASE,
            };
            imports.import("", &place.to_string(), EntityType::Function(ty));
        }
        let mut functions = FunctionSection::new();
        for ty in [NULLARY, RENEW, RELEASE, READ, WRITE] {
            functions.function(ty);
        }
        let mut exports = ExportSection::new();
        for (function, name) in (self.imports..).zip(EXPORTS) {
            exports.export(name, ExportKind::Func, function);
        }
        let mut code = CodeSection::new();
        let bodies = [self.save(), self.renew(), self.release()];
        for body in bodies.iter().chain(&[self.read(), self.write()]) {
            code.function(body);
        }

        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions);
        module.section(&exports).section(&code);
        module
    }

    fn save(&self) -> Function {
        let mut body = Function::new([]);
        for save in self.saves() {
            body.instructions().call(save);
        }
        body.instructions().end();
        body
    }

    fn renew(&self) -> Function {
        const RELEASE: u32 = 0;
        const N: u32 = 1;
        /// How many are taken, and later how many are left to give.
        const AT: u32 = 2;
        const NUMBER: u32 = 3;
        const HIGHEST: u32 = 4;
        let mut body = Function::new([(3, ValType::I32)]);
        let mut code = body.instructions();

        let releasable: u32 = self.arguments.iter().map(|argument| argument.bit).sum();
        code.local_get(RELEASE)
            .i32_const(!releasable.cast_signed())
            .i32_and();
        code.if_(BlockType::Empty).unreachable().end();
        for argument in self.arguments {
            code.local_get(RELEASE)
                .i32_const(argument.bit.cast_signed())
                .i32_and();
            code.if_(BlockType::Empty);
            code.i32_const(argument.number);
            code.call(self.drop(argument.resource)).end();
        }

        code.block(BlockType::Empty).loop_(BlockType::Empty);
        code.local_get(AT).local_get(N).i32_ge_u().br_if(1);
        code.i32_const(0).call(self.take()).local_tee(NUMBER);
        code.local_get(HIGHEST).local_get(NUMBER).local_get(HIGHEST);
        code.i32_gt_u().select().local_set(HIGHEST);
        code.local_get(AT).i32_const(1).i32_add().local_set(AT);
        code.br(0).end().end();

        code.local_get(HIGHEST).local_get(N).i32_gt_u();
        code.if_(BlockType::Empty).unreachable().end();

        code.block(BlockType::Empty).loop_(BlockType::Empty);
        code.local_get(AT).i32_eqz().br_if(1);
        code.local_get(AT).call(self.give());
        code.local_get(AT).i32_const(1).i32_sub().local_set(AT);
        code.br(0).end().end();

        for reset in self.resets() {
            code.call(reset);
        }
        for base in self.bases() {
            code.i32_const(0).i32_const(0).call(base);
        }
        code.local_get(HIGHEST).end();
        body
    }

    fn release(&self) -> Function {
        const RESOURCE: u32 = 0;
        const NUMBER: u32 = 1;
        let mut body = Function::new([]);
        let mut code = body.instructions();
        for place in 0..self.resources {
            code.local_get(RESOURCE)
                .i32_const(place.cast_signed())
                .i32_eq();
            code.if_(BlockType::Empty).local_get(NUMBER);
            code.call(self.drop(place)).return_().end();
        }
        code.unreachable().end();
        body
    }

    fn read(&self) -> Function {
        self.dispatch(self.reads(), 2)
    }

    fn write(&self) -> Function {
        self.dispatch(self.writes(), 3)
    }

    /// Finds the instance that the place belongs to, which is the first of so many parameters, and
    /// calls its function; places count through all instances.
    fn dispatch(&self, functions: Range<u32>, parameters: u32) -> Function {
        const PLACE: u32 = 0;
        let mut body = Function::new([]);
        let mut code = body.instructions();
        let mut first = 0;
        for (function, instance) in functions.zip(self.instances) {
            let behind = first + instance.globals;
            code.local_get(PLACE)
                .i32_const(behind.cast_signed())
                .i32_lt_u();
            code.if_(BlockType::Empty);
            code.local_get(PLACE)
                .i32_const(first.cast_signed())
                .i32_sub();
            for parameter in 1..parameters {
                code.local_get(parameter);
            }
            code.call(function).return_().end();
            first = behind;
        }
        code.unreachable().end();
        body
    }
}
