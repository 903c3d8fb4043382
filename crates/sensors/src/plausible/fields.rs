//! The fields of a file of lines `<key>: <number>`, and what was found wrong in
//! them.

use std::mem::{self, Discriminant};

use super::ABSURD_BYTES;
use super::implausible::{Excerpt, Fault, Implausible, Measure, Used};
use crate::number::decimal;

/// What was implausible in the last reading of a file, by field; and what of it
/// was said, so that each is said once until the field was right in between.
#[derive(Debug)]
pub(crate) struct Findings<const FIELDS: usize> {
    slots: [Slot; FIELDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    now: Option<Implausible>,
    /// What kind of fault was.
    said: Option<Discriminant<Fault>>,
}

impl Slot {
    fn kind(&self) -> Option<Discriminant<Fault>> {
        self.now.map(|now| mem::discriminant(&now.fault))
    }
}

impl<const FIELDS: usize> Default for Findings<FIELDS> {
    fn default() -> Self {
        Self {
            slots: [Slot::default(); FIELDS],
        }
    }
}

impl<const FIELDS: usize> Findings<FIELDS> {
    /// A reading begins.
    pub(crate) fn begin(&mut self) {
        for slot in &mut self.slots {
            slot.now = None;
        }
    }

    /// The reading is over: what was right in it is said again when it is not.
    pub(crate) fn settle(&mut self) {
        for slot in &mut self.slots {
            slot.said = slot.said.filter(|_| slot.now.is_some());
        }
    }

    pub(super) fn note(&mut self, field: usize, implausible: Implausible) {
        self.slots[field].now = Some(implausible);
    }

    /// Whether this field was not taken as it stood.
    pub(crate) fn overrules(&self, field: usize) -> bool {
        self.slots[field]
            .now
            .is_some_and(|now| now.used != Used::Found)
    }

    /// One that is yet to be said; it counts as said.
    pub(crate) fn next_unsaid(&mut self) -> Option<Implausible> {
        self.next_unsaid_of().map(|(_, found)| found)
    }

    /// The same, and of which field.
    pub(crate) fn next_unsaid_of(&mut self) -> Option<(usize, Implausible)> {
        let mut slots = self.slots.iter_mut().enumerate();
        let (index, slot) =
            slots.find(|(_, slot)| slot.now.is_some() && slot.said != slot.kind())?;
        slot.said = slot.kind();
        Some((index, slot.now?))
    }
}

/// A field as it stands in the text.
#[derive(Clone, Copy, Debug, Default)]
struct Field {
    /// Counted from 1; 0: it is not there.
    line: usize,
    value: Option<u64>,
    fault: Option<Fault>,
}

/// The fields that a file of lines `<key>: <number>` is read for.
#[derive(Debug)]
pub(crate) struct Fields<const FIELDS: usize> {
    keys: &'static [(&'static str, Measure); FIELDS],
    fields: [Field; FIELDS],
}

impl<const FIELDS: usize> Fields<FIELDS> {
    /// Reads `text` line by line. A line that is cut short before its colon, or
    /// that has a key we do not know, is passed over.
    pub(crate) fn of(keys: &'static [(&'static str, Measure); FIELDS], text: &[u8]) -> Self {
        Self::of_lines(keys, text, b':')
    }

    /// The same where something else than a colon is behind each key.
    pub(crate) fn of_lines(
        keys: &'static [(&'static str, Measure); FIELDS],
        text: &[u8],
        separator: u8,
    ) -> Self {
        let mut fields = [Field::default(); FIELDS];
        for (line, content) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let Some(end) = content.iter().position(|&byte| byte == separator) else {
                continue;
            };
            let (key, value) = (&content[..end], &content[end + 1..]);
            let known = keys.iter().position(|(known, _)| known.as_bytes() == key);
            if let Some(index) = known {
                fields[index].take(line, value, keys[index].1);
            }
        }
        Self { keys, fields }
    }

    /// Takes in a file that holds this one number and nothing else.
    pub(super) fn take_alone(&mut self, index: usize, text: &[u8]) {
        self.fields[index].take(1, text, self.keys[index].1);
    }

    /// Takes these as not being there.
    pub(super) fn leave_out(&mut self, indices: &[usize]) {
        for &index in indices {
            self.fields[index] = Field::default();
        }
    }

    /// Why the file is of no use without this field.
    pub(crate) fn unfit(&self, index: usize) -> Unfit {
        let (key, unit) = self.keys[index];
        let field = &self.fields[index];
        if field.line == 0 {
            return Unfit::Missing { key };
        }
        Unfit::Implausible(Implausible {
            key,
            unit,
            line: field.line,
            // The only sound value that is of no use.
            fault: field
                .fault
                .unwrap_or_else(|| Fault::Unreadable(Excerpt::of(b"0"))),
            used: Used::No,
        })
    }

    /// The value of a field that is there, sound and at most `limit`.
    pub(super) fn at_most(
        &self,
        index: usize,
        limit: u64,
        findings: &mut Findings<FIELDS>,
    ) -> Option<u64> {
        let Field { value, fault, .. } = self.fields[index];
        let above = |found: &u64| *found > limit;
        let fault = match value.filter(above) {
            Some(found) => Some(Fault::Above { found, limit }),
            None => fault,
        };
        let value = value.filter(|value| !above(value));
        if let Some(fault) = fault {
            let used = value.map_or(Used::Nothing, |_| Used::Found);
            self.note(index, fault, used, findings);
        }
        value
    }

    /// The value of a field that is there and no more than any machine has.
    pub(super) fn sound(&self, index: usize) -> Option<u64> {
        self.fields[index].value
    }

    pub(super) fn note(
        &self,
        index: usize,
        fault: Fault,
        used: Used,
        findings: &mut Findings<FIELDS>,
    ) {
        let (key, unit) = self.keys[index];
        let line = self.fields[index].line;
        let implausible = Implausible {
            key,
            unit,
            line,
            fault,
            used,
        };
        findings.note(index, implausible);
    }

    /// Whether there is a line of it, whatever that says.
    pub(super) fn is_there(&self, index: usize) -> bool {
        self.fields[index].line > 0
    }

    /// Says what is taken for a field after all.
    pub(super) fn use_instead(&self, index: usize, used: Used, findings: &mut Findings<FIELDS>) {
        match &mut findings.slots[index].now {
            Some(implausible) => implausible.used = used,
            None => self.note(index, Fault::Missing, used, findings),
        }
    }
}

impl Field {
    /// The first line of a key counts: what follows may be appended.
    fn take(&mut self, line: usize, text: &[u8], unit: Measure) {
        if self.line > 0 {
            self.fault = self.fault.or(Some(Fault::Repeated(line)));
            return;
        }
        self.line = line;
        let text = text.trim_ascii();
        let digits = match unit {
            Measure::Kib => text.strip_suffix(b" kB").map(<[u8]>::trim_ascii_end),
            Measure::Bytes | Measure::Stat | Measure::Alone | Measure::Pages | Measure::None => {
                Some(text)
            }
        };
        let bytes = digits.and_then(decimal).and_then(|number| match unit {
            Measure::Kib => number.checked_mul(1024),
            Measure::Bytes | Measure::Stat | Measure::Alone | Measure::Pages | Measure::None => {
                Some(number)
            }
        });
        self.value = bytes.filter(|&bytes| bytes <= ABSURD_BYTES);
        if self.value.is_none() {
            self.fault = Some(Fault::of(text, digits));
        }
    }
}

/// Why a file is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    Missing { key: &'static str },
    Implausible(Implausible),
}
