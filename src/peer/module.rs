//! The rsync module of a device, from the `rsync_module` template (B8.3).
//!
//! The template is a Python format string, and operators use its corners: `{{`, `{zone:03d}`, `{device!r}`. So it is
//! read here as Python reads it, field by field from the left. Only what makes no sense for these eight fields is left
//! out, and is an error: attributes (`{port.real}`) and the float types (`{zone:.2f}`).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use crate::python;
use crate::python::format_spec::{Spec, SpecError};
use crate::ring::Device;

/// How deep fields may stand in the format specs of fields, as in Python: `{zone:{region}d}` is as far as it goes.
const MAX_DEPTH: u8 = 2;

/// A template that gives no module for a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// A name that is none of the eight fields; in the words of the reference.
    #[error("Cannot interpolate rsync_module, invalid variable: {}", python::repr_str(.0))]
    UnknownField(String),
    /// Everything else that Python's formatting refuses.
    #[error("Cannot interpolate rsync_module: {fault} in {}", python::repr_str(.template))]
    Malformed {
        /// The template as it stands in the configuration.
        template: String,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What can be wrong with a template besides unknown fields.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("a single {0:?}")]
    SingleBrace(char),
    #[error("an unfinished field")]
    Unfinished,
    #[error("a {{ in a field's name")]
    BraceInName,
    #[error("a field without a name")]
    Positional,
    #[error("an index or attribute that the field does not have")]
    NoSuchPart,
    #[error("an unknown conversion")]
    Conversion,
    #[error("fields nested too deeply")]
    TooDeep,
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// The module that `template` names for the device `to` (B8.3).
///
/// # Errors
/// [`ModuleError::UnknownField`] if the template names a field that is not one of the eight, [`ModuleError::Malformed`]
/// if it is not a valid format string for them.
pub fn interpolate(template: &str, to: &Device) -> Result<String, ModuleError> {
    let mut module = String::with_capacity(template.len() + 32);
    fill(template, to, MAX_DEPTH, &mut module).map_err(|failure| match failure {
        FieldError::UnknownField(name) => ModuleError::UnknownField(name),
        FieldError::Fault(fault) => ModuleError::Malformed { template: template.to_owned(), fault },
    })?;
    Ok(module)
}

enum FieldError {
    UnknownField(String),
    Fault(Fault),
}

impl From<SpecError> for FieldError {
    fn from(error: SpecError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Appends the template with its fields filled in.
fn fill(template: &str, to: &Device, depth: u8, out: &mut String) -> Result<(), FieldError> {
    let depth = depth.checked_sub(1).ok_or(Fault::TooDeep)?;
    let mut rest = template;
    while let Some(brace) = rest.find(['{', '}']) {
        let (literal, markup) = rest.split_at(brace);
        out.push_str(literal);
        rest = if let Some(after) = markup.strip_prefix("{{") {
            out.push('{');
            after
        } else if let Some(after) = markup.strip_prefix("}}") {
            out.push('}');
            after
        } else if markup.starts_with('}') {
            return Err(Fault::SingleBrace('}').into());
        } else if markup == "{" {
            return Err(Fault::SingleBrace('{').into());
        } else {
            let (field, after) = Field::split_from(&markup[1..])?;
            field.render(to, depth, out)?;
            after
        };
    }
    out.push_str(rest);
    Ok(())
}

/// One `{name!conversion:spec}`.
struct Field<'a> {
    name: &'a str,
    conversion: Option<char>,
    spec: &'a str,
}

impl<'a> Field<'a> {
    /// The field at whose content `text` begins, and what comes after its closing brace.
    fn split_from(text: &'a str) -> Result<(Self, &'a str), Fault> {
        let end = end_of_name(text)?;
        let (name, rest) = text.split_at(end);
        let mut rest = rest.chars();
        match rest.next() {
            Some('}') => Ok((Self { name, conversion: None, spec: "" }, rest.as_str())),
            Some(':') => Self::with_spec(name, None, rest.as_str()),
            Some(_) => {
                let conversion = rest.next().ok_or(Fault::Unfinished)?;
                match rest.next() {
                    Some('}') => Ok((Self { name, conversion: Some(conversion), spec: "" }, rest.as_str())),
                    Some(':') => Self::with_spec(name, Some(conversion), rest.as_str()),
                    Some(_) => Err(Fault::Conversion),
                    None => Err(Fault::Unfinished),
                }
            }
            None => Err(Fault::Unfinished),
        }
    }

    /// The field whose spec begins here and ends at the brace that closes the field.
    fn with_spec(name: &'a str, conversion: Option<char>, text: &'a str) -> Result<(Self, &'a str), Fault> {
        let mut open = 1;
        for (at, c) in text.char_indices() {
            match c {
                '{' => open += 1,
                '}' => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok((Self { name, conversion, spec: &text[..at] }, &text[at + 1..]));
            }
        }
        Err(Fault::Unfinished)
    }

    fn render(&self, to: &Device, depth: u8, out: &mut String) -> Result<(), FieldError> {
        let value = self.value(to)?;
        let value = match self.conversion {
            None => value,
            Some('s') => Value::Text(value.text()),
            Some('r') => Value::Text(value.repr().into()),
            Some('a') => Value::Text(ascii(&value.repr()).into()),
            Some(_) => return Err(Fault::Conversion.into()),
        };
        if !self.spec.contains('{') {
            return Ok(value.format(self.spec, out)?);
        }
        let mut spec = String::new();
        fill(self.spec, to, depth, &mut spec)?;
        Ok(value.format(&spec, out)?)
    }

    /// The value of the named field of the device, or a character of it: `{device[0]}`.
    fn value(&self, to: &'a Device) -> Result<Value<'a>, FieldError> {
        let (first, mut parts) = self.name.split_at(self.name.find(['.', '[']).unwrap_or(self.name.len()));
        if first.bytes().all(|c| c.is_ascii_digit()) {
            return Err(Fault::Positional.into());
        }
        let mut value = Value::of(first, to).ok_or_else(|| FieldError::UnknownField(first.to_owned()))?;
        while let Some(part) = parts.strip_prefix('[') {
            let (index, rest) = part.split_once(']').ok_or(Fault::Unfinished)?;
            let index: usize = index.parse().map_err(|_| Fault::NoSuchPart)?;
            value = value.character(index).ok_or(Fault::NoSuchPart)?;
            parts = rest;
        }
        if parts.is_empty() { Ok(value) } else { Err(Fault::NoSuchPart.into()) }
    }
}

/// Where a field's name ends; an index in brackets may hold anything.
fn end_of_name(text: &str) -> Result<usize, Fault> {
    let mut in_brackets = false;
    for (at, c) in text.char_indices() {
        match c {
            ']' if in_brackets => in_brackets = false,
            _ if in_brackets => {}
            '[' => in_brackets = true,
            '{' => return Err(Fault::BraceInName),
            '}' | ':' | '!' => return Ok(at),
            _ => {}
        }
    }
    Err(Fault::Unfinished)
}

/// What a field stands for.
enum Value<'a> {
    Text(Cow<'a, str>),
    Number(i64),
}

impl<'a> Value<'a> {
    fn of(name: &str, to: &'a Device) -> Option<Self> {
        Some(match name {
            "ip" => Self::Text(bracketed(&to.ip)),
            "port" => Self::Number(to.port.into()),
            "replication_ip" => Self::Text(bracketed(&to.replication_ip)),
            "replication_port" => Self::Number(to.replication_port.into()),
            "region" => Self::Number(to.region),
            "zone" => Self::Number(to.zone),
            "device" => Self::Text(Cow::Borrowed(&to.device)),
            "meta" => Self::Text(Cow::Borrowed(&to.meta)),
            _ => return None,
        })
    }

    fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string().into(),
        }
    }

    fn repr(&self) -> String {
        match self {
            Self::Text(text) => python::repr_str(text),
            Self::Number(number) => number.to_string(),
        }
    }

    fn character(&self, index: usize) -> Option<Self> {
        match self {
            Self::Text(text) => text.chars().nth(index).map(|c| Self::Text(c.to_string().into())),
            Self::Number(_) => None,
        }
    }

    fn format(&self, spec: &str, out: &mut String) -> Result<(), Fault> {
        match self {
            Self::Text(text) => Ok(Spec::parse(spec, 's', '<')?.text(text, out)?),
            Self::Number(number) => Ok(Spec::parse(spec, 'd', '>')?.number(*number, out)?),
        }
    }
}

/// An address as rsync wants it: IPv6 in brackets, everything else, host names too, as it is.
fn bracketed(ip: &str) -> Cow<'_, str> {
    if ip.parse::<Ipv6Addr>().is_ok() { format!("[{ip}]").into() } else { ip.into() }
}

/// A representation with what is not ASCII escaped, as Python's `ascii` does it.
fn ascii(repr: &str) -> String {
    let mut ascii = String::with_capacity(repr.len());
    for c in repr.chars() {
        match u32::from(c) {
            ..=0x7f => ascii.push(c),
            code @ ..=0xff => ascii.push_str(&format!("\\x{code:02x}")),
            code @ ..=0xffff => ascii.push_str(&format!("\\u{code:04x}")),
            code => ascii.push_str(&format!("\\U{code:08x}")),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device {
            id: 7,
            region: 1,
            zone: 3,
            ip: "fe80::1".into(),
            port: 6200,
            device: "sda".into(),
            weight: 100.0,
            meta: "rack \"4\"".into(),
            replication_ip: "10.1.2.3".into(),
            replication_port: 6300,
        }
    }

    fn module(template: &str) -> Result<String, String> {
        interpolate(template, &device()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_usual_templates_name_the_usual_modules() {
        assert_eq!(module("{replication_ip}::object").unwrap(), "10.1.2.3::object");
        assert_eq!(module("{replication_ip}::object{replication_port}").unwrap(), "10.1.2.3::object6300");
        assert_eq!(module("rsync://{ip}:873/object_{device}").unwrap(), "rsync://[fe80::1]:873/object_sda");
    }

    #[test]
    fn python_format_syntax_is_understood_b8_3() {
        assert_eq!(module("{ip}::object_{device}_{zone:03d}{{x}}").unwrap(), "[fe80::1]::object_sda_003{x}");
        assert_eq!(module("{zone:{region}{zone}d}|{device!r:>7}").unwrap(), "            3|  'sda'");
        assert_eq!(module("{meta!r}{device[1]}{port:,}{port:#x}").unwrap(), "'rack \"4\"'d6,2000x1838");
    }

    #[test]
    fn an_unknown_field_is_named_as_the_reference_names_it() {
        let text = "Cannot interpolate rsync_module, invalid variable: 'bogus'";
        assert_eq!(module("{bogus}::object").unwrap_err(), text);
        // Fields are filled from the left: what is wrong behind them does not matter.
        assert_eq!(module("{bogus}::object}").unwrap_err(), text);
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for template in [
            "{",
            "}",
            "{}",
            "{0}",
            "a}b",
            "{ip",
            "{ip!",
            "{ip!r",
            "{ip!x}",
            "{ip!rx}",
            "{ip:",
            "{ip:{zone}",
            "{i{p}",
            "{ip[}",
            "{ip[9999]}",
            "{ip[x]}",
            "{ip[0]x}",
            "{zone[0]}",
            "{ip.upper}",
            "{ip:d}",
            "{zone:s}",
            "{zone:.2}",
            "{ip:=9}",
            "{ip:+}",
            "{zone:{zone:{zone}}}",
            "{zone:3q}",
            "{zone:99999999d}",
        ] {
            assert!(module(template).is_err(), "{template:?} gave {:?}", module(template));
        }
        assert_eq!(module("x}").unwrap_err(), "Cannot interpolate rsync_module: a single '}' in 'x}'");
    }
}
