//! References in values: `%(name)s` stands for the value of another option, `%%` for one `%` (B2.5).

use thiserror::Error;

/// References in values that references brought in are followed this deep.
const MAX_DEPTH: usize = 10;
/// No more references are followed in one value, and no more bytes come of it: ten levels of a hundred references each would
/// take all memory, and for ever.
const MAX_REFERENCES: usize = 10_000;
const MAX_BYTES: usize = 1 << 20;

/// When `%` in a value has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// Only in values that contain `%(`, so that `1%` needs no escape (daemons' configuration, B2.5).
    WhereReferred,
    /// In every value (`swift.conf`, B2.11).
    Always,
}

/// What is wrong with the references in a value.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InterpolationError {
    #[error("\"%\" must be followed by \"%\" or \"(\"")]
    LonePercent,
    #[error("\"%(\" must be the start of \"%(name)s\"")]
    BadReference,
    #[error("\"%({0})s\" refers to an option that is set neither in this section nor in [DEFAULT]")]
    UnknownOption(String),
    #[error("references go deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("references bring in too much")]
    TooMuch,
}

impl Interpolation {
    /// The value with its references replaced; `lookup` finds the raw value of an option.
    pub(crate) fn expand<'a>(
        self,
        value: &str,
        lookup: &dyn Fn(&str) -> Option<&'a str>,
    ) -> Result<String, InterpolationError> {
        let verbatim = match self {
            Self::WhereReferred => !value.contains("%("),
            Self::Always => !value.contains('%'),
        };
        if verbatim {
            return Ok(value.to_owned());
        }
        let mut expanded = String::new();
        expand_into(&mut expanded, value, lookup, 1, &mut { MAX_REFERENCES })?;
        Ok(expanded)
    }
}

fn expand_into<'a>(
    out: &mut String,
    value: &str,
    lookup: &dyn Fn(&str) -> Option<&'a str>,
    depth: usize,
    left: &mut usize,
) -> Result<(), InterpolationError> {
    if depth > MAX_DEPTH {
        return Err(InterpolationError::TooDeep);
    }
    let mut rest = value;
    while let Some((literal, escape)) = rest.split_once('%') {
        out.push_str(literal);
        if let Some(after) = escape.strip_prefix('%') {
            out.push('%');
            rest = after;
        } else if let Some(reference) = escape.strip_prefix('(') {
            let (name, after) = split_reference(reference)?;
            rest = after;
            *left = left.checked_sub(1).filter(|_| out.len() <= MAX_BYTES).ok_or(InterpolationError::TooMuch)?;
            match lookup(name).ok_or_else(|| InterpolationError::UnknownOption(name.to_owned()))? {
                // What WhereReferred leaves alone in an option of its own is not left alone here.
                value if value.contains('%') => expand_into(out, value, lookup, depth + 1, left)?,
                value => out.push_str(value),
            }
        } else {
            return Err(InterpolationError::LonePercent);
        }
    }
    out.push_str(rest);
    Ok(())
}

/// Splits `name)s...` into the name and what follows.
fn split_reference(reference: &str) -> Result<(&str, &str), InterpolationError> {
    reference
        .split_once(')')
        .and_then(|(name, after)| Some((name, after.strip_prefix('s')?)))
        .filter(|(name, _)| !name.is_empty())
        .ok_or(InterpolationError::BadReference)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: &str =
        "%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s%(more)s";
    const MORE: &str = "%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s%(d)s";

    fn expand(value: &str) -> Result<String, InterpolationError> {
        let lookup = |name: &str| match name {
            "d" => Some("/srv"),
            "percent" => Some("1%"),
            "loop" => Some("%(loop)s"),
            "twice" => Some("%(d)s%(d)s"),
            "many" => Some(MANY),
            "more" => Some(MORE),
            _ => None,
        };
        Interpolation::WhereReferred.expand(value, &lookup)
    }

    #[test]
    fn a_value_that_references_make_huge_is_refused() {
        let much = "%(many)s".repeat(100);
        assert_eq!(expand(&much), Err(InterpolationError::TooMuch));
        let long = "x".repeat(MAX_BYTES);
        assert_eq!(expand(&format!("%(d)s{long}")).map(|value| value.len()), Ok(MAX_BYTES + 4));
        assert_eq!(expand(&format!("{long}y%(d)s")), Err(InterpolationError::TooMuch));
    }

    #[test]
    fn a_percent_sign_without_a_reference_is_not_special_unless_it_always_is() {
        assert_eq!(expand("1% of 50%%"), Ok("1% of 50%%".into()));
        let always = |value| Interpolation::Always.expand(value, &|_| None);
        assert_eq!(always("50%%"), Ok("50%".into()));
        assert_eq!(always("50%"), Err(InterpolationError::LonePercent));
        assert_eq!(always("50% off"), Err(InterpolationError::LonePercent));
    }

    #[test]
    fn references_are_replaced_also_in_what_they_brought_in() {
        assert_eq!(expand("%(d)s/node 5%%"), Ok("/srv/node 5%".into()));
        assert_eq!(expand("<%(twice)s>"), Ok("</srv/srv>".into()));
    }

    #[test]
    fn what_cannot_be_expanded_is_refused() {
        assert_eq!(expand("%(x)s"), Err(InterpolationError::UnknownOption("x".into())));
        assert_eq!(expand("%(loop)s"), Err(InterpolationError::TooDeep));
        assert_eq!(expand("%(percent)s"), Err(InterpolationError::LonePercent));
        for bad in ["%(d", "%()s", "%(d)", "%(d)d"] {
            assert_eq!(expand(bad), Err(InterpolationError::BadReference), "{bad}");
        }
    }
}
