//! A plan as one page that needs nothing else: no network, no other file.

use serde_json::Value;

/// The page, with marks where style, title and plan go.
const TEMPLATE: &str = include_str!("plan.html");

/// What all pages look like.
pub const STYLE: &str = include_str!("page.css");

/// The page of a plan, which is its JSON with every rectangle.
pub fn page(title: String, plan: &Value) -> String {
    // In a script only `</` could end it early, and only a `<!--` change how it is read.
    let plan = plan.to_string().replace('<', "\\u003c");
    TEMPLATE.replace("{{style}}", STYLE).replace("{{title}}", &escape(&title)).replace("{{plan}}", &plan)
}

/// Text that a page shows as it is.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let plan = serde_json::json!({"model": "</script><script>alert(1)</script>"});
        let page = page("<b>&".to_string(), &plan);
        assert!(page.contains("&lt;b&gt;&amp;"));
        assert!(!page.contains("alert(1)</script>"));
        assert_eq!(page.matches("</script>").count(), TEMPLATE.matches("</script>").count());
    }
}
