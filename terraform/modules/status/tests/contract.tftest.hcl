# With what this version of the code really asks for.

provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project_id    = "test-project"
  location      = "europe-west1"
  indexes       = jsondecode(file("../pipeline/contract.tfvars.json")).contract.firestore.indexes
  ttl_fields    = jsondecode(file("../pipeline/contract.tfvars.json")).contract.firestore.ttl_fields
  exempt_fields = jsondecode(file("../pipeline/contract.tfvars.json")).contract.firestore.exempt_fields
  rules         = jsondecode(file("../pipeline/contract.tfvars.json")).contract.firestore.rules
}

run "every_index_of_the_code_is_in_the_plan" {
  command = plan

  assert {
    condition     = length(google_firestore_index.main) == length(var.indexes) && length(var.indexes) > 0
    error_message = "Each index must be made."
  }
  assert {
    condition     = alltrue([for index in var.indexes : contains([for made in google_firestore_index.main : jsonencode([made.collection, [for field in made.fields : [field.field_path, coalesce(field.order, field.array_config)]]])], jsonencode([index.collection, [for field in index.fields : [field.field_path, coalesce(field.order, field.array_config)]]]))])
    error_message = "Each index must have its collection and its fields in order."
  }
}

run "every_document_that_expires_vanishes" {
  command = plan

  assert {
    condition     = toset([for key, field in google_firestore_field.main : key if length(field.ttl_config) == 1]) == toset([for row in var.ttl_fields : "${row.collection}.${row.field}"])
    error_message = "Each time to live must be in the plan, and no other."
  }
  assert {
    condition     = google_firestore_field.main["outbox.expires_at"].field == "expires_at" && google_firestore_field.main["outbox.expires_at"].collection == "outbox"
    error_message = "What was published must leave the outbox."
  }
}

run "every_field_that_nobody_looks_for_is_out_of_the_indexes" {
  command = plan

  assert {
    condition     = toset([for key, field in google_firestore_field.main : key if length(field.index_config) == 1]) == toset([for row in var.exempt_fields : "${row.collection}.${row.field}"])
    error_message = "Each exemption must be in the plan, and no other."
  }
}

run "the_rules_of_the_code_are_released" {
  command = plan

  assert {
    condition     = strcontains(one(google_firebaserules_ruleset.main).source[0].files[0].content, "job.owner_id == request.auth.uid")
    error_message = "Users must see their own jobs alone."
  }
}
