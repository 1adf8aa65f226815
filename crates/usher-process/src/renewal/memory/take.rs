//! Memory is recorded: surveyed, written to an image, and looked at once more.
//!
//! Deliberately absent: what is decided about each mapping, see `survey`.

use std::io;
use std::sync::Arc;

use usher_core::renewal::hot::Hot;
use usher_core::renewal::layout::{Mapping, Repair, repairs};
use usher_core::renewal::runs::{Span, merged};
use usher_core::renewal::warm::Warm;

use super::aside::Aside;
use super::canary::Canary;
use super::counters::{Counter, are_exact};
use super::dirty::Regions;
use super::errors::{Failed, TakeError, Unfit};
use super::kept::{KEPT_MAX_BYTES, Kept};
use super::lay;
use super::parts::{Part, overlapping, parts};
use super::repair::{Zeros, place};
use super::survey::{self, Told, Treatment};
use super::usual::Usual;
use super::windows::{Bounds, Windows};
use super::{HOT_MAX_PAGES, Memory, SEARCH_GAP_MAX_BYTES, SWAP_MAX_PAGES, count};
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::pages::{Mappings, Means, Own, PageMap, Way};
use crate::sys::trace;

/// Addresses that are read word by word where the kernel does not search, in bytes.
const WORDS_MAX_BYTES: u64 = 64 << 30;

/// What there is before anything is changed.
struct Surveyed {
    told: Vec<Told>,
    treatments: Vec<Treatment>,
    own: Vec<Span>,
}

pub(super) fn take(
    stopped: &mut Stopped,
    agent: &Agent,
    means: Means,
    bounds: Bounds,
) -> Result<Memory, TakeError> {
    let way = means.pages.ok_or(TakeError::Blind)?;
    let pid = stopped.pid();
    let open = Failed::at("open the page map");
    let mut pages = PageMap::open(pid, way).map_err(open)?;
    let open = Failed::at("open the list of mappings");
    let mut mappings = Mappings::open(pid, means.mappings_asked).map_err(open)?;
    // Whatever cannot be put back is found out before anything is changed.
    survey(stopped, agent, &mut pages)?;
    let counter = Counter::open(pid).map_err(Failed::at("open the count of pages"))?;
    let counted = way == Way::Scan && are_exact(&counter, stopped, agent)?;
    let canary = Canary::map(stopped, agent)?;
    let surveyed = survey(stopped, agent, &mut pages)?;
    let kept = keep(stopped, &surveyed)?;
    let ends = |told: &Told| file_end(pid, told).unwrap_or(told.span().end);
    let parts = parts(&surveyed.told, &surveyed.treatments, &surveyed.own, ends);
    let parts = parts.ok_or_else(|| too_many(&surveyed))?;
    let heap_end = heap_end(stopped, agent)?;
    let image = lay::lay(stopped, agent, &parts)?;
    let windows = Windows::open(bounds, stopped, agent, &image, &parts)?;
    let written =
        areas(stopped).map_err(Failed::at("ask where the kernel writes in the memory"))?;
    own_pages(stopped, &written).map_err(Failed::at("write where the kernel writes"))?;
    let identity = image.identity().map_err(Failed::at("look at the image"))?;
    let recorded = mappings.all().map_err(Failed::at("read the mappings"))?;
    check(&recorded, &parts, &windows, identity)?;
    let told = survey::told(pid).map_err(Failed::at("read the mappings"))?;
    let flags = told.iter().map(|told| (told.span(), told.flags.join(" ")));
    let own_now = own(&mut pages, recorded.iter().map(|one| one.span))?;
    let regions = Regions::of(&parts, &kept, agent);
    if let Some(span) = regions.beside(own_now.iter().map(|own| own.span)) {
        return Err(Failed::Unrecorded(span).into());
    }
    let count_now = counter.own_pages()?;
    let hot = hot(&parts, &written);
    Ok(Memory {
        identity,
        written,
        flags: flags.collect(),
        regions,
        expected: expected(&recorded, &parts, agent),
        usual: Usual::default(),
        windows,
        zeros: zeros(&surveyed),
        counted: counted && count_now == count(own_now.iter().map(|own| own.span)),
        counter,
        hot,
        warm: Warm::new(usize::try_from(SWAP_MAX_PAGES).unwrap_or(usize::MAX)),
        sample: None,
        given_up: Aside::default(),
        room: None,
        image: Arc::new(image),
        recorded,
        parts,
        kept,
        heap_end,
        pages,
        mappings,
        canary,
        agent: agent.clone(),
        areas: None,
        hottest: Arc::default(),
        own: own_now,
    })
}

fn survey(stopped: &Stopped, agent: &Agent, pages: &mut PageMap) -> Result<Surveyed, TakeError> {
    let pid = stopped.pid();
    let mut told = survey::told(pid).map_err(Failed::at("read the mappings"))?;
    let agent = agent.range();
    let agent = Span::new(agent.start, agent.end);
    told.retain(|told| !agent.holds(told.span()));
    if pages.way() == Way::Words {
        let bytes: u64 = told.iter().map(|told| told.span().len()).sum();
        if let Some(first) = told.first().filter(|_| bytes > WORDS_MAX_BYTES) {
            return Err(Unfit {
                what: "more addresses than can be searched on this kernel",
                span: first.span(),
                name: first.found.name.clone(),
            }
            .into());
        }
    }
    let own: Vec<_> = own(pages, told.iter().map(Told::span))?
        .into_iter()
        .map(|own| own.span)
        .collect();
    let has_own = |span| !overlapping(&own, span).is_empty();
    let treatments = survey::treatments(pid, &told, has_own)?;
    Ok(Surveyed {
        told,
        treatments,
        own,
    })
}

fn own(pages: &mut PageMap, mappings: impl Iterator<Item = Span>) -> Result<Vec<Own>, Failed> {
    let mut own = Vec::new();
    let found = pages.own_anywhere(mappings, &mut own);
    found.map_err(Failed::at("search the memory"))?;
    Ok(own)
}

fn keep(stopped: &Stopped, surveyed: &Surveyed) -> Result<Vec<Kept>, TakeError> {
    let mut all = Vec::new();
    let mut bytes = 0;
    for (told, treatment) in surveyed.told.iter().zip(&surveyed.treatments) {
        if *treatment != Treatment::Keep {
            continue;
        }
        let span = told.span();
        let own = overlapping(&surveyed.own, span);
        let own: Vec<_> = own.iter().map(|own| own.common(span)).collect();
        bytes += own.iter().map(Span::len).sum::<u64>();
        if bytes > KEPT_MAX_BYTES {
            return Err(Unfit {
                what: "too much memory that is locked or wiped on fork, or too deep a stack",
                span,
                name: told.found.name.clone(),
            }
            .into());
        }
        let kept = Kept::save(stopped, told, own.into_iter());
        all.push(kept.map_err(Failed::at("save the stack"))?);
    }
    Ok(all)
}

/// Where the last page of a mapped file ends, behind which there is nothing to read.
fn file_end(pid: rustix::process::Pid, told: &Told) -> io::Result<u64> {
    let span = told.span();
    let bytes = survey::file_bytes(pid, span)?;
    let left = bytes.saturating_sub(told.found.mapping.backing.offset);
    let left = left.next_multiple_of(crate::sys::pages::page_bytes());
    Ok(span.end.min(span.start.saturating_add(left)))
}

fn too_many(surveyed: &Surveyed) -> Unfit {
    let first = surveyed.told.first();
    Unfit {
        what: "too many separate pieces of memory",
        span: first.map_or(Span::default(), Told::span),
        name: String::new(),
    }
}

fn heap_end(stopped: &mut Stopped, agent: &Agent) -> Result<u64, Failed> {
    let mut batch = Batch::new();
    let place = batch.call(Call::new(libc::SYS_brk, [0_u64.into()]), Expect::Ok);
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(Failed::by_program("tell where its heap ends"))?;
    Ok(answers.value(place).unwrap_or(0).cast_unsigned())
}

/// Where the kernel tells each thread on which processor it runs. It writes there whenever a thread
/// goes on, also while it makes our calls; so what is there is nobody's secret, and to drop the
/// page would be in vain.
fn areas(stopped: &Stopped) -> io::Result<Vec<Span>> {
    let areas = stopped.threads().iter().map(|thread| {
        let [start, lens, _] = trace::sequences(*thread)?;
        Ok(Span::new(start, start + (lens & u64::from(u32::MAX))))
    });
    let areas: Vec<_> = areas.collect::<io::Result<_>>()?;
    Ok(areas.into_iter().filter(|area| !area.is_empty()).collect())
}

/// Makes the pages there the program's own, as the kernel would at any time.
fn own_pages(stopped: &Stopped, areas: &[Span]) -> io::Result<()> {
    for area in areas {
        let mut byte = [0];
        stopped.read(area.start, &mut byte)?;
        stopped.write(area.start, &byte)?;
    }
    Ok(())
}

/// No page is hot, but for those where the kernel writes.
fn hot(parts: &[Part], written: &[Span]) -> Hot {
    let last = parts.last();
    let pages = last.map_or(0, |last| last.first_page + super::parts::pages(last.span));
    let mut hot = Hot::new(pages, HOT_MAX_PAGES);
    let pinned = written.iter();
    for page in pinned.filter_map(|area| page_at(parts, area.start)) {
        hot.pin(page);
    }
    hot
}

/// The number of the page at `address` among those of all parts.
fn page_at(parts: &[Part], address: u64) -> Option<usize> {
    let behind = parts.partition_point(|part| part.span.end <= address);
    let part = parts
        .get(behind)
        .filter(|part| part.span.start <= address)?;
    let before = super::parts::pages(Span::new(part.span.start, address));
    Some(part.first_page + before)
}

/// Every part must now be told as one that lies on the image, and so must every window.
fn check(
    recorded: &[Mapping],
    parts: &[Part],
    windows: &Windows,
    identity: (u64, u64),
) -> Result<(), Failed> {
    let of_image = |one: &&Mapping| (one.backing.device, one.backing.inode) == identity;
    let now: Vec<_> = recorded.iter().filter(of_image).copied().collect();
    let mut wanted: Vec<_> = parts.iter().map(|part| part.mapping(identity)).collect();
    wanted.extend(windows.mappings(identity, parts));
    wanted.sort_unstable_by_key(|one| one.span);
    let wrong: Option<Repair> = repairs(&wanted, &now).into_iter().next();
    wrong.map_or(Ok(()), |step| Err(Failed::Unrepaired(place(&step))))
}

/// Where own pages are expected: on the image, and wherever the program may write.
fn expected(recorded: &[Mapping], parts: &[Part], agent: &Agent) -> Vec<Span> {
    let written = recorded.iter().filter(|one| one.access.write);
    let written = written.map(|one| one.span);
    let agent = agent.range();
    let agent = Span::new(agent.start, agent.end);
    let mut all: Vec<_> = written.chain(parts.iter().map(|part| part.span)).collect();
    all.push(agent);
    all.sort_unstable();
    merged(all, SEARCH_GAP_MAX_BYTES)
}

fn zeros(surveyed: &Surveyed) -> Zeros {
    let all = surveyed.told.iter().zip(&surveyed.treatments);
    let all = all.filter(|(told, treatment)| {
        let kept = **treatment == Treatment::Keep;
        told.found.mapping.backing.is_anonymous() && !kept && !told.has("dp")
    });
    let all = all.filter(|(told, _)| !told.found.name.starts_with("[v"));
    let all = all.map(|(told, _)| (told.span(), told.manner()));
    let (spans, manners) = all.unzip();
    Zeros { spans, manners }
}
