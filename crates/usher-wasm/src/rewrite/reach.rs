//! Which functions of a module can run after it was instantiated.
//!
//! ```text
//!  roots: exported · named by an element segment, a global, a table or a `ref.func`
//!  edges: call, return_call            (indirect calls and `call_ref` only reach roots)
//!  not a root: the start function
//! ```
//!
//! The answer errs on the side of reachable: an export counts even if nobody imports it.

use wasmparser::{
    BinaryReaderError, CodeSectionReader, ConstExpr, ElementItems, ElementSectionReader,
    FunctionBody, GlobalSectionReader, Operator, TableInit, TableSectionReader,
};

use super::module::{Module, id};

/// For each reachable function that has an instruction which `wanted` names: the first one.
pub(super) fn reachable(
    module: &Module<'_>,
    wanted: impl Fn(&Operator<'_>) -> Option<&'static str>,
) -> Result<Vec<(u32, &'static str)>, BinaryReaderError> {
    let Some(code) = module.section(id::CODE) else {
        return Ok(Vec::new());
    };
    let bodies = CodeSectionReader::new(code.reader())?.into_iter();
    let bodies = bodies.collect::<Result<Vec<_>, _>>()?;
    let mut found = Vec::new();
    let mut seen = vec![false; module.functions as usize];
    let mut queue = roots(module, &bodies)?;
    while let Some(function) = queue.pop() {
        let Some(unseen) = seen.get_mut(function as usize).filter(|seen| !**seen) else {
            continue;
        };
        *unseen = true;
        // Imported functions are judged in the module that defines them.
        let Some(place) = function.checked_sub(module.imported_functions) else {
            continue;
        };
        let Some(body) = bodies.get(place as usize) else {
            continue;
        };
        let mut first = None;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            if let Some(callee) = callee(&operator) {
                queue.push(callee);
            }
            first = first.or(wanted(&operator));
        }
        found.extend(first.map(|operator| (function, operator)));
    }
    found.sort_unstable();
    Ok(found)
}

fn callee(operator: &Operator<'_>) -> Option<u32> {
    match operator {
        Operator::Call { function_index } | Operator::ReturnCall { function_index } => {
            Some(*function_index)
        }
        _ => None,
    }
}

fn roots(module: &Module<'_>, bodies: &[FunctionBody<'_>]) -> Result<Vec<u32>, BinaryReaderError> {
    let mut roots = module.exported_functions()?;
    if let Some(section) = module.section(id::ELEMENT) {
        for element in ElementSectionReader::new(section.reader())? {
            match element?.items {
                ElementItems::Functions(functions) => {
                    for function in functions {
                        roots.push(function?);
                    }
                }
                ElementItems::Expressions(_, expressions) => {
                    for expression in expressions {
                        roots_of(&expression?, &mut roots)?;
                    }
                }
            }
        }
    }
    if let Some(section) = module.section(id::GLOBAL) {
        for global in GlobalSectionReader::new(section.reader())? {
            roots_of(&global?.init_expr, &mut roots)?;
        }
    }
    if let Some(section) = module.section(id::TABLE) {
        for table in TableSectionReader::new(section.reader())? {
            if let TableInit::Expr(expression) = table?.init {
                roots_of(&expression, &mut roots)?;
            }
        }
    }
    for body in bodies {
        for operator in body.get_operators_reader()? {
            if let Operator::RefFunc { function_index } = operator? {
                roots.push(function_index);
            }
        }
    }
    Ok(roots)
}

fn roots_of(expression: &ConstExpr<'_>, roots: &mut Vec<u32>) -> Result<(), BinaryReaderError> {
    for operator in expression.get_operators_reader() {
        if let Operator::RefFunc { function_index } = operator? {
            roots.push(function_index);
        }
    }
    Ok(())
}
