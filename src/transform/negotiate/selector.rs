//! Refuses selectors that tell whether a guess at a masked value is right (threats C-30).
//!
//! The API server selects by the values it has stored: whoever may list `spec.password=guess` needs no
//! answer but an empty one or another. It knows such field labels for custom resources with
//! `selectableFields`, where the label is the field's path.

use crate::policy::mask::MaskPlan;
use crate::request::{RequestInfo, selector};
use crate::transform::MaskError;

/// What separates words in a label selector: the lexer of `k8s.io/apimachinery/pkg/labels`.
const LABEL_SYNTAX: [char; 11] = ['=', '!', '(', ')', ',', '<', '>', ' ', '\t', '\r', '\n'];

/// What separates the keys in a field label, however its JSON path was written.
const PATH_SYNTAX: [char; 5] = ['.', '[', ']', '\'', '"'];

/// Checks both selectors of a list, watch or deletecollection. Values count as if they were keys of
/// labels; that is stricter than needed and cannot be fooled.
pub(super) fn refuse_selected_masks(info: &RequestInfo, plan: &MaskPlan) -> Result<(), MaskError> {
    let terms = selector::parse(&info.field_selector).map_err(|_error| MaskError::Selector {
        kind: "fieldSelector",
        field: "(unreadable)".to_owned(),
    })?;
    for term in terms {
        let keys = term.field.split(PATH_SYNTAX).filter(|key| !key.is_empty());
        if plan.overlaps(keys) {
            return Err(MaskError::Selector {
                kind: "fieldSelector",
                field: term.field,
            });
        }
    }
    let words = info.label_selector.split(LABEL_SYNTAX);
    for word in words.filter(|word| !word.is_empty()) {
        if plan.overlaps(["metadata", "labels", word]) {
            return Err(MaskError::Selector {
                kind: "labelSelector",
                field: format!("metadata.labels[{word:?}]"),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::policy::mask::{BUILTIN, FieldPath, MaskRule, builtin};

    fn refused(fields: &[&str], selectors: &str) -> Option<String> {
        let parse = |field: &&str| FieldPath::parse(field).unwrap();
        let rule = MaskRule {
            fields: fields.iter().map(parse).collect(),
            ..MaskRule::default()
        };
        refused_by(&[&rule], "/apis/example.com/v1/databases", selectors)
    }

    fn refused_by(rules: &[&MaskRule], list: &str, selectors: &str) -> Option<String> {
        let info = RequestInfo::parse(&Method::GET, &format!("{list}?{selectors}")).unwrap();
        let outcome = refuse_selected_masks(&info, &MaskPlan::compile(rules));
        outcome.err().map(|error| error.to_string())
    }

    #[test]
    fn c_30_a_selector_cannot_guess_a_masked_value() {
        for (fields, selectors) in [
            (
                &["spec.password"][..],
                "fieldSelector=spec.password%3Dguess",
            ),
            (&["spec.password"], "fieldSelector=spec.password!%3Dguess"),
            (&["spec.password"], "fieldSelector=.spec.Password%3Dguess"),
            (
                &["spec.password"],
                "fieldSelector=spec%5B'password'%5D%3Dguess",
            ),
            (
                &["spec.password"],
                "watch=1&fieldSelector=metadata.name%3Dx,spec.password%3Dguess",
            ),
            (&["spec.*"], "fieldSelector=spec.user%3Dguess"),
            (
                &["spec.**[~='(?i)token']"],
                "fieldSelector=spec.a.token%3Dx",
            ),
            (&["metadata.labels.pin"], "labelSelector=a,pin%3D1234"),
            (&["metadata.labels.pin"], "labelSelector=pin+in+(1,2)"),
            (&["metadata.labels.pin"], "labelSelector=!pin"),
            (&["metadata.labels.pin"], "labelSelector=pin%3E1"),
            (
                &["metadata.labels['example.com/pin']"],
                "labelSelector=example.com/pin%3D%3D1",
            ),
        ] {
            let told = refused(fields, selectors).unwrap_or_else(|| panic!("{selectors}"));
            assert!(told.contains("names a masked field"), "{told}");
        }
    }

    #[test]
    fn c_30_other_selectors_are_as_good_as_ever() {
        for selectors in [
            "fieldSelector=metadata.name%3Dx,metadata.namespace%3Dy,spec.engine%3Dpg",
            "labelSelector=app%3Dpassword,spec,pinned",
            "",
        ] {
            let fields = ["spec.password", "metadata.labels.pin"];
            assert_eq!(refused(&fields, selectors), None, "{selectors}");
        }
        for name in BUILTIN {
            for rule in builtin(name) {
                for selectors in [
                    "fieldSelector=metadata.name%3Dx,metadata.namespace%3Dy,status.phase%3DRunning",
                    "fieldSelector=spec.nodeName%3Dx,type!%3Dkubernetes.io/tls,spec.restartPolicy%3Dx",
                    "fieldSelector=involvedObject.name%3Dx,reason%3DFailed,source%3Dkubelet",
                    "labelSelector=app%3Dx,owner%3Dhelm",
                ] {
                    let told = refused_by(&[&rule], "/api/v1/pods", selectors);
                    assert_eq!(told, None, "{name}: {selectors}");
                }
            }
        }
    }
}
