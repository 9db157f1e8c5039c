# Who may read the status documents besides the functions: their service accounts are subject to IAM, never to these rules.

resource "google_firebaserules_ruleset" "main" {
  count = var.rules == null ? 0 : 1

  project = var.project_id

  source {
    language = "FIREBASE_RULES"

    files {
      name    = "firestore.rules"
      content = var.rules
    }
  }

  # Rules cannot be changed, only replaced, and not be deleted while they are released. The provider makes the release
  # anew as well: for a moment the database has none, and apps that read it are refused.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_firebaserules_release" "main" {
  count = var.rules == null ? 0 : 1

  project      = var.project_id
  name         = local.database == "(default)" ? "cloud.firestore" : "cloud.firestore/${local.database}"
  ruleset_name = "projects/${var.project_id}/rulesets/${google_firebaserules_ruleset.main[0].name}"
}
