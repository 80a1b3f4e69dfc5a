//! The storage policies of `swift.conf`, and what Swift asks of them (B2.14-B2.18).
//!
//! Swift refuses to start any daemon with a set of policies that does not hold together; so does this one. What only
//! erasure coding needs is checked as far as numbers go. Those policies are not replicated here, so it does not matter
//! whether this machine has the library for an `ec_type`.

use std::collections::BTreeMap;

use thiserror::Error;

use super::ini::Item;
use super::value;
use crate::names::PolicyIndex;
use crate::python::repr_str;

/// The name of policy 0 where no policy is configured.
const LEGACY_NAME: &str = "Policy-0";

/// The characters of a policy's name, as the reference's message shows them.
const NAME_CHARACTERS: &str = "-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// The number of parity fragments from which on `isa_l_rs_vand` may be used no more.
const HARMFUL_ISA_L_PARITY: i64 = 5;

/// How a policy keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Replication,
    ErasureCoding,
}

/// A storage policy (B2.14).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub index: PolicyIndex,
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    pub kind: PolicyKind,
    pub is_default: bool,
    /// Nothing new is stored in it; it is replicated all the same (B2.16).
    pub is_deprecated: bool,
}

/// Why the policies cannot be used; the reference's own words where operators know them (B2.15).
#[derive(Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    #[error("You must specify a storage policy section for policy index 0 in order to define multiple policies")]
    NoPolicyZero,
    #[error("Invalid option {option} in storage-policy section, for index {index}",
        option = repr_str(.option), index = repr_str(.index))]
    UnknownOption { option: String, index: String },
    #[error("Invalid index, for index {}", repr_str(.0))]
    BadIndex(String),
    #[error("Unknown policy_type {policy_type}, for index {index}",
        policy_type = repr_str(.policy_type), index = repr_str(.index))]
    UnknownType { policy_type: String, index: String },
    #[error("Invalid name '', for index {0}")]
    NoName(PolicyIndex),
    #[error("Names are used as HTTP headers, and can not reliably contain any characters not in '{NAME_CHARACTERS}'. \
        Invalid name {}, for index {index}", repr_str(.name))]
    BadName { name: String, index: PolicyIndex },
    #[error("The name {LEGACY_NAME} is reserved for policy index 0. Invalid name {}, for index {index}", repr_str(.name))]
    ReservedName { name: String, index: PolicyIndex },
    #[error("The name {name} is already assigned to this policy, for index {index}")]
    RepeatedName { name: String, index: PolicyIndex },
    #[error("A deprecated policy can not be the default, for index {0}")]
    DeprecatedDefault(PolicyIndex),
    #[error("diskfile_module {module} is not one that this replicator can work with, for index {index}",
        module = repr_str(.module))]
    DiskfileModule { module: String, index: PolicyIndex },
    #[error("Missing ec_type, for index {0}")]
    NoEcType(PolicyIndex),
    #[error("Invalid {option} {value}, for index {index}", value = repr_str(.value))]
    BadFragments { option: &'static str, value: String, index: PolicyIndex },
    #[error(
        "isa_l_rs_vand with {HARMFUL_ISA_L_PARITY} or more parity fragments harms data, so the policy must be \
        deprecated, for index {0}"
    )]
    HarmfulErasureCode(PolicyIndex),
    #[error("Duplicate index {0}")]
    DuplicateIndex(PolicyIndex),
    #[error("Duplicate name {name}: policies {first} and {second} have it")]
    DuplicateName { name: String, first: PolicyIndex, second: PolicyIndex },
    #[error("Duplicate default: policies {0} and {1} are")]
    DuplicateDefault(PolicyIndex, PolicyIndex),
    #[error("Unable to find policy that's not deprecated!")]
    AllDeprecated,
    #[error("Unable to find default policy")]
    NoDefault,
}

/// The policies of the sections `[storage-policy:N]`, each given as its N and its options; policy 0 if there are none.
///
/// # Errors
/// [`PolicyError`] if Swift would refuse to start with these sections; it says which of Swift's rules is broken, and
/// where.
pub fn from_sections(sections: Vec<(&str, Vec<Item>)>) -> Result<Vec<Policy>, PolicyError> {
    let mut policies = Vec::new();
    for (index, items) in sections {
        policies.push(Section::new(index, items)?.into_policy()?);
    }
    check_together(&policies)?;
    if policies.is_empty() {
        policies.push(legacy_policy());
    }
    if let [only] = policies.as_mut_slice() {
        only.is_default = true;
    }
    Ok(policies)
}

/// One policy's section.
struct Section<'a> {
    index: &'a str,
    kind: PolicyKind,
    options: BTreeMap<String, String>,
}

impl<'a> Section<'a> {
    const OPTIONS: [&'static str; 6] = ["name", "aliases", "policy_type", "default", "deprecated", "diskfile_module"];
    const EC_OPTIONS: [&'static str; 5] = [
        "ec_type",
        "ec_object_segment_size",
        "ec_num_data_fragments",
        "ec_num_parity_fragments",
        "ec_duplication_factor",
    ];

    fn new(index: &'a str, items: Vec<Item>) -> Result<Self, PolicyError> {
        let kind = match items.iter().find(|item| item.key == "policy_type").map(|item| item.value.as_str()) {
            None | Some("replication") => PolicyKind::Replication,
            Some("erasure_coding") => PolicyKind::ErasureCoding,
            Some(other) => {
                return Err(PolicyError::UnknownType { policy_type: other.to_owned(), index: index.to_owned() });
            }
        };
        let known = |key: &str| {
            Self::OPTIONS.contains(&key) || (kind == PolicyKind::ErasureCoding && Self::EC_OPTIONS.contains(&key))
        };
        if let Some(item) = items.iter().find(|item| !known(&item.key)) {
            return Err(PolicyError::UnknownOption { option: item.key.clone(), index: index.to_owned() });
        }
        let options = items.into_iter().map(|item| (item.key, item.value)).collect();
        Ok(Self { index, kind, options })
    }

    fn get(&self, option: &str) -> Option<&str> {
        self.options.get(option).map(String::as_str)
    }

    fn into_policy(self) -> Result<Policy, PolicyError> {
        let index = parse_index(self.index)?;
        let (name, aliases) = self.names(index)?;
        let is_default = self.get("default").is_some_and(value::boolean);
        let is_deprecated = self.get("deprecated").is_some_and(value::boolean);
        if is_default && is_deprecated {
            return Err(PolicyError::DeprecatedDefault(index));
        }
        match self.kind {
            PolicyKind::Replication => self.check_diskfile_module(index)?,
            PolicyKind::ErasureCoding => self.check_erasure_code(index, is_deprecated)?,
        }
        Ok(Policy { index, name, aliases, kind: self.kind, is_default, is_deprecated })
    }

    /// The name, and the aliases; the name itself may stand among these.
    fn names(&self, index: PolicyIndex) -> Result<(String, Vec<String>), PolicyError> {
        let name = self.get("name").unwrap_or_default();
        let mut names = Vec::new();
        let aliases = value::list(self.get("aliases").unwrap_or_default()).filter(|alias| *alias != name);
        for name in [name].into_iter().chain(aliases) {
            check_name(name, &names, index)?;
            names.push(name.to_owned());
        }
        let aliases = names.split_off(1);
        Ok((names.remove(0), aliases))
    }

    /// Another module may keep its objects in another way, which this replicator would not understand but would delete.
    fn check_diskfile_module(&self, index: PolicyIndex) -> Result<(), PolicyError> {
        let module = self.get("diskfile_module").unwrap_or("egg:swift#replication.fs");
        let (distribution, name) = module.split_once('#').unwrap_or(("egg:swift", module));
        let (scheme, distribution) = distribution.split_once(':').unwrap_or(("egg", distribution));
        if scheme.eq_ignore_ascii_case("egg") && distribution == "swift" && name == "replication.fs" {
            return Ok(());
        }
        Err(PolicyError::DiskfileModule { module: module.to_owned(), index })
    }

    fn check_erasure_code(&self, index: PolicyIndex, is_deprecated: bool) -> Result<(), PolicyError> {
        let ec_type = self.get("ec_type").ok_or(PolicyError::NoEcType(index))?;
        self.fragments("ec_num_data_fragments", None, index)?;
        let parity = self.fragments("ec_num_parity_fragments", None, index)?;
        self.fragments("ec_object_segment_size", Some("1048576"), index)?;
        self.fragments("ec_duplication_factor", Some("1"), index)?;
        if ec_type == "isa_l_rs_vand" && parity >= HARMFUL_ISA_L_PARITY && !is_deprecated {
            return Err(PolicyError::HarmfulErasureCode(index));
        }
        Ok(())
    }

    /// A number of at least 1.
    fn fragments(&self, option: &'static str, default: Option<&str>, index: PolicyIndex) -> Result<i64, PolicyError> {
        let value = self.get(option).or(default).unwrap_or("None");
        match value::integer(value) {
            Ok(number @ 1..) => Ok(number),
            _ => Err(PolicyError::BadFragments { option, value: value.to_owned(), index }),
        }
    }
}

fn parse_index(text: &str) -> Result<PolicyIndex, PolicyError> {
    let number = value::integer(text).ok().and_then(|number| u32::try_from(number).ok());
    number.map(PolicyIndex::new).ok_or_else(|| PolicyError::BadIndex(text.to_owned()))
}

fn check_name(name: &str, others: &[String], index: PolicyIndex) -> Result<(), PolicyError> {
    if name.is_empty() {
        Err(PolicyError::NoName(index))
    } else if !name.chars().all(|c| NAME_CHARACTERS.contains(c)) {
        Err(PolicyError::BadName { name: name.to_owned(), index })
    } else if name.eq_ignore_ascii_case(LEGACY_NAME) && index.number() != 0 {
        Err(PolicyError::ReservedName { name: name.to_owned(), index })
    } else if others.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        Err(PolicyError::RepeatedName { name: name.to_owned(), index })
    } else {
        Ok(())
    }
}

/// What the policies must be as a whole; nothing, if there are none.
fn check_together(policies: &[Policy]) -> Result<(), PolicyError> {
    for (position, policy) in policies.iter().enumerate() {
        check_against(policy, &policies[..position])?;
    }
    if policies.is_empty() {
        return Ok(());
    }
    if !policies.iter().any(|policy| policy.index.number() == 0) {
        return Err(PolicyError::NoPolicyZero);
    }
    if policies.iter().all(|policy| policy.is_deprecated) {
        return Err(PolicyError::AllDeprecated);
    }
    if policies.len() > 1 && !policies.iter().any(|policy| policy.is_default) {
        return Err(PolicyError::NoDefault);
    }
    Ok(())
}

fn check_against(policy: &Policy, earlier: &[Policy]) -> Result<(), PolicyError> {
    if earlier.iter().any(|other| other.index == policy.index) {
        return Err(PolicyError::DuplicateIndex(policy.index));
    }
    for name in policy.names() {
        let owner = earlier.iter().find(|other| other.names().any(|taken| taken.eq_ignore_ascii_case(name)));
        if let Some(other) = owner {
            return Err(PolicyError::DuplicateName { name: name.to_owned(), first: other.index, second: policy.index });
        }
    }
    match earlier.iter().find(|other| other.is_default && policy.is_default) {
        Some(other) => Err(PolicyError::DuplicateDefault(other.index, policy.index)),
        None => Ok(()),
    }
}

impl Policy {
    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

fn legacy_policy() -> Policy {
    Policy {
        index: PolicyIndex::new(0),
        name: LEGACY_NAME.to_owned(),
        aliases: Vec::new(),
        kind: PolicyKind::Replication,
        is_default: true,
        is_deprecated: false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::ini::Place;

    /// The policies of sections written as `N: key=value, key=value`.
    fn policies(sections: &[&str]) -> Result<Vec<Policy>, String> {
        let place = Place { file: Path::new("swift.conf").into(), line: 1 };
        let item = |option: &str| {
            let (key, value) = option.trim().split_once('=').unwrap();
            Item { key: key.into(), value: value.into(), place: place.clone(), inherited: false }
        };
        let split = sections.iter().map(|text| text.split_once(": ").unwrap());
        let sections = split.map(|(index, options)| (index, options.split(", ").map(item).collect()));
        from_sections(sections.collect()).map_err(|error| error.to_string())
    }

    fn reason(sections: &[&str]) -> String {
        policies(sections).unwrap_err()
    }

    #[test]
    fn without_sections_there_is_policy_0() {
        assert_eq!(policies(&[]), Ok(vec![legacy_policy()]));
    }

    #[test]
    fn policies_keep_the_order_of_the_file_and_their_names() {
        let policies = policies(&["1: name=gold, aliases=gold", "0: name=x, default=yes, deprecated=no"]).unwrap();
        let shown: Vec<_> = policies.iter().map(|p| (p.index.number(), p.name.as_str(), p.is_default)).collect();
        assert_eq!(shown, [(1, "gold", false), (0, "x", true)]);
        assert_eq!(policies[0].aliases, [""; 0]);
    }

    #[test]
    fn a_single_policy_is_the_default() {
        assert!(policies(&["0: name=x, default=no"]).unwrap()[0].is_default);
    }

    #[test]
    fn an_index_is_what_python_takes_for_an_integer() {
        assert_eq!(policies(&[" +0_0 : name=x"]).unwrap()[0].index.number(), 0);
        assert_eq!(reason(&["-1: name=x"]), "Invalid index, for index '-1'");
        assert_eq!(reason(&["x: name=x"]), "Invalid index, for index 'x'");
    }

    #[test]
    fn names_are_checked_in_the_references_words() {
        assert_eq!(reason(&["0: name="]), "Invalid name '', for index 0");
        assert_eq!(
            reason(&["0: name=x_y"]),
            "Names are used as HTTP headers, and can not reliably contain any characters not in \
             '-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'. Invalid name 'x_y', for index 0"
        );
        assert_eq!(
            reason(&["0: name=a", "1: name=POLICY-0"]),
            "The name Policy-0 is reserved for policy index 0. Invalid name 'POLICY-0', for index 1"
        );
        assert_eq!(reason(&["0: name=a, aliases=A"]), "The name A is already assigned to this policy, for index 0");
    }

    #[test]
    fn options_and_types_must_be_known() {
        assert_eq!(reason(&["0: name=a, bogus=1"]), "Invalid option 'bogus' in storage-policy section, for index '0'");
        assert_eq!(
            reason(&["0: name=a, ec_type=x"]),
            "Invalid option 'ec_type' in storage-policy section, for index '0'"
        );
        assert_eq!(reason(&["0: name=a, policy_type=tape"]), "Unknown policy_type 'tape', for index '0'");
    }

    #[test]
    fn policies_must_hold_together() {
        assert_eq!(
            reason(&["1: name=a"]),
            "You must specify a storage policy section for policy index 0 in order to define multiple policies"
        );
        assert_eq!(reason(&["0: name=a", "00: name=b"]), "Duplicate index 0");
        assert_eq!(reason(&["0: name=a", "1: name=b, aliases=A"]), "Duplicate name A: policies 0 and 1 have it");
        assert_eq!(
            reason(&["0: name=a, default=1", "1: name=b, default=1"]),
            "Duplicate default: policies 0 and 1 are"
        );
        assert_eq!(reason(&["0: name=a", "1: name=b"]), "Unable to find default policy");
        assert_eq!(reason(&["0: name=a, deprecated=1"]), "Unable to find policy that's not deprecated!");
        assert_eq!(
            reason(&["0: name=a, deprecated=1, default=1"]),
            "A deprecated policy can not be the default, for index 0"
        );
    }

    #[test]
    fn erasure_codes_need_their_numbers() {
        let ec = |options: &str| {
            policies(&["0: name=a, default=1", &format!("1: name=b, policy_type=erasure_coding{options}")])
        };
        assert_eq!(ec("").unwrap_err(), "Missing ec_type, for index 1");
        let numbers = ", ec_type=isa_l_rs_vand, ec_num_data_fragments=4";
        assert_eq!(ec(numbers).unwrap_err(), "Invalid ec_num_parity_fragments 'None', for index 1");
        assert!(ec(&format!("{numbers}, ec_num_parity_fragments=0")).is_err());
        assert!(ec(&format!("{numbers}, ec_num_parity_fragments=5")).is_err());
        assert!(ec(&format!("{numbers}, ec_num_parity_fragments=5, deprecated=yes")).is_ok());
        let policies = ec(&format!("{numbers}, ec_num_parity_fragments=2")).unwrap();
        assert_eq!(policies[1].kind, PolicyKind::ErasureCoding);
    }

    #[test]
    fn only_swifts_own_diskfile_is_understood() {
        for known in ["egg:swift#replication.fs", "EGG:swift#replication.fs", "swift#replication.fs", "replication.fs"]
        {
            assert!(policies(&[&format!("0: name=a, diskfile_module={known}")]).is_ok(), "{known}");
        }
        for other in ["egg:swift#erasure_coding.fs", "egg:tape#replication.fs", "py:swift#replication.fs"] {
            let expected =
                format!("diskfile_module '{other}' is not one that this replicator can work with, for index 0");
            assert_eq!(reason(&[&format!("0: name=a, diskfile_module={other}")]), expected);
        }
    }
}
