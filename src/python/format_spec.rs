//! Python's format specs (`:>03d`) for text and whole numbers.

/// The widest field that is filled. Python would go on until the memory is full.
const MAX_WIDTH: usize = 1024;

/// Why a value cannot be written in a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The text is not a format spec, or not one for such a value.
    #[error("a format that does not fit the field")]
    Format,
    /// The field would be wider than any that is filled.
    #[error("a width beyond {MAX_WIDTH} characters")]
    Width,
}

/// A format spec, taken apart.
pub(crate) struct Spec {
    fill: char,
    align: char,
    sign: Option<char>,
    alternate: bool,
    zero_is_zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: char,
}

impl Spec {
    /// Takes a spec apart; `kind` and `align` are what the value's type has where the spec is silent.
    pub(crate) fn parse(spec: &str, kind: char, align: char) -> Result<Self, SpecError> {
        let mut rest = Cursor(spec);
        let (fill, explicit_align) = rest.fill_and_align();
        let sign = rest.take(|c| matches!(c, '+' | '-' | ' '));
        let zero_is_zero = rest.take(|c| c == 'z').is_some();
        let alternate = rest.take(|c| c == '#').is_some();
        let zero_padded = fill.is_none() && rest.take(|c| c == '0').is_some();
        let width = rest.number()?.unwrap_or(0);
        let grouping = rest.grouping()?;
        let precision = rest.precision()?;
        let kind = rest.take(|_| true).unwrap_or(kind);
        if !rest.0.is_empty() {
            return Err(SpecError::Format);
        }
        let align_of_zeros = if zero_padded && align == '>' { '=' } else { align };
        let fill = fill.unwrap_or(if zero_padded { '0' } else { ' ' });
        let align = explicit_align.unwrap_or(align_of_zeros);
        Ok(Self { fill, align, sign, alternate, zero_is_zero, width, grouping, precision, kind })
    }

    /// Appends a text in this format.
    pub(crate) fn text(&self, text: &str, out: &mut String) -> Result<(), SpecError> {
        let for_numbers = self.sign.is_some() || self.zero_is_zero || self.alternate || self.grouping.is_some();
        if for_numbers || self.align == '=' || self.kind != 's' {
            return Err(SpecError::Format);
        }
        let end = self.precision.and_then(|n| text.char_indices().nth(n)).map_or(text.len(), |(at, _)| at);
        self.padded("", "", &text[..end], out);
        Ok(())
    }

    /// Appends a number in this format.
    pub(crate) fn number(&self, number: i64, out: &mut String) -> Result<(), SpecError> {
        if self.precision.is_some() || self.zero_is_zero || !self.grouping_fits() {
            return Err(SpecError::Format);
        }
        let magnitude = number.unsigned_abs();
        let (prefix, digits) = match self.kind {
            'd' | 'n' => ("", magnitude.to_string()),
            'b' => ("0b", format!("{magnitude:b}")),
            'o' => ("0o", format!("{magnitude:o}")),
            'x' => ("0x", format!("{magnitude:x}")),
            'X' => ("0X", format!("{magnitude:X}")),
            'c' if self.sign.is_none() && !self.alternate => return self.character(number, out),
            _ => return Err(SpecError::Format),
        };
        let sign = match self.sign {
            _ if number < 0 => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let prefix = if self.alternate { prefix } else { "" };
        self.padded(sign, prefix, &self.grouped(&digits, sign.len() + prefix.len()), out);
        Ok(())
    }

    fn character(&self, number: i64, out: &mut String) -> Result<(), SpecError> {
        let c = u32::try_from(number).ok().and_then(char::from_u32).ok_or(SpecError::Format)?;
        self.padded("", "", c.encode_utf8(&mut [0; 4]), out);
        Ok(())
    }

    fn grouping_fits(&self) -> bool {
        match self.grouping {
            None => true,
            Some('_') => matches!(self.kind, 'd' | 'b' | 'o' | 'x' | 'X'),
            Some(_) => self.kind == 'd',
        }
    }

    /// The digits in groups. Where zeros fill the field up to its sign, they are grouped too, and the field gets one
    /// wider rather than begin with a separator.
    fn grouped(&self, digits: &str, taken: usize) -> String {
        let Some(separator) = self.grouping else { return digits.to_owned() };
        let group = if self.kind == 'd' { 3 } else { 4 };
        let zeros_to = if self.fill == '0' && self.align == '=' { self.width.saturating_sub(taken) } else { 0 };
        let mut reversed = String::new();
        let mut digits = digits.chars().rev().peekable();
        let mut in_group = 0;
        while digits.peek().is_some() || reversed.len() < zeros_to {
            if in_group == group {
                reversed.push(separator);
                in_group = 0;
            }
            reversed.push(digits.next().unwrap_or('0'));
            in_group += 1;
        }
        reversed.chars().rev().collect()
    }

    /// Appends sign, prefix and body, filled up to the width on the side that the alignment leaves.
    fn padded(&self, sign: &str, prefix: &str, body: &str, out: &mut String) {
        let padding = self.width.saturating_sub(sign.len() + prefix.len() + body.chars().count());
        let (before, between, after) = match self.align {
            '<' => (0, 0, padding),
            '^' => (padding / 2, 0, padding - padding / 2),
            '=' => (0, padding, 0),
            _ => (padding, 0, 0),
        };
        let pad = |out: &mut String, n| out.extend(std::iter::repeat_n(self.fill, n));
        pad(out, before);
        out.push_str(sign);
        out.push_str(prefix);
        pad(out, between);
        out.push_str(body);
        pad(out, after);
    }
}

/// What is left of a spec to take apart.
struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn take(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        let c = self.0.chars().next().filter(|c| wanted(*c))?;
        self.0 = &self.0[c.len_utf8()..];
        Some(c)
    }

    /// An alignment, with the character before it, if there is one, to fill with.
    fn fill_and_align(&mut self) -> (Option<char>, Option<char>) {
        let is_align = |c| matches!(c, '<' | '>' | '=' | '^');
        let mut ahead = self.0.chars();
        match (ahead.next(), ahead.next()) {
            (Some(fill), Some(align)) if is_align(align) => {
                self.0 = ahead.as_str();
                (Some(fill), Some(align))
            }
            _ => (None, self.take(is_align)),
        }
    }

    fn number(&mut self) -> Result<Option<usize>, SpecError> {
        let (digits, rest) = self.0.split_at(self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len()));
        self.0 = rest;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().ok().filter(|n| *n <= MAX_WIDTH).map(Some).ok_or(SpecError::Width)
    }

    fn grouping(&mut self) -> Result<Option<char>, SpecError> {
        let grouping = self.take(|c| matches!(c, ',' | '_'));
        if grouping.is_some() && self.take(|c| matches!(c, ',' | '_')).is_some() {
            return Err(SpecError::Format);
        }
        Ok(grouping)
    }

    fn precision(&mut self) -> Result<Option<usize>, SpecError> {
        if self.take(|c| c == '.').is_none() {
            return Ok(None);
        }
        self.number()?.ok_or(SpecError::Format).map(Some)
    }
}
