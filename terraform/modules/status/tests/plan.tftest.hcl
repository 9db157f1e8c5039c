provider "google" {
  project      = "test-project"
  access_token = "none"
}

variables {
  project_id = "test-project"
  location   = "europe-west1"
  indexes = [
    {
      collection = "jobs"
      fields     = [{ field_path = "state", order = "ASCENDING" }, { field_path = "job_id", order = "DESCENDING" }]
    },
    {
      collection = "jobs"
      fields     = [{ field_path = "labels", array_config = "CONTAINS" }, { field_path = "job_id", order = "DESCENDING" }]
    },
  ]
  ttl_fields    = [{ collection = "outbox", field = "expires_at" }, { collection = "usage", field = "expires_at" }]
  exempt_fields = [{ collection = "jobs", field = "options" }, { collection = "outbox", field = "expires_at" }]
  rules         = "rules_version = '2'; service cloud.firestore { }"
}

run "the_database_is_native_and_guarded" {
  command = plan

  assert {
    condition     = one(google_firestore_database.main).type == "FIRESTORE_NATIVE"
    error_message = "Apps listen to documents, which only the native mode allows."
  }
  assert {
    condition     = one(google_firestore_database.main).name == "(default)" && one(google_firestore_database.main).location_id == "europe-west1" && one(google_firestore_database.main).project == "test-project"
    error_message = "The database must be the default one, in the given project and location."
  }
  assert {
    condition     = one(google_firestore_database.main).delete_protection_state == "DELETE_PROTECTION_ENABLED"
    error_message = "Google must refuse to delete the database."
  }
  assert {
    condition     = one(google_firestore_database.main).deletion_policy == "DELETE"
    error_message = "A destroy must not leave the database behind without a word."
  }
  assert {
    condition     = one(google_firestore_database.main).point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_ENABLED"
    error_message = "The last seven days must be there to restore."
  }
  assert {
    condition     = length(one(google_firestore_database.main).cmek_config) == 0
    error_message = "Without a key of one's own, Google's is taken."
  }
  assert {
    condition     = output.database == { name = "(default)", id = "projects/test-project/databases/(default)" }
    error_message = "The output must say the database's name and id."
  }
}

run "every_index_is_made_with_its_fields_in_order" {
  command = plan

  assert {
    condition = toset(keys(google_firestore_index.main)) == toset([
      "jobs: state ASCENDING, job_id DESCENDING",
      "jobs: labels CONTAINS, job_id DESCENDING",
    ])
    error_message = "There must be an index for each row, under a key that says what it is."
  }
  assert {
    condition     = [for field in google_firestore_index.main["jobs: state ASCENDING, job_id DESCENDING"].fields : [field.field_path, field.order]] == [["state", "ASCENDING"], ["job_id", "DESCENDING"]]
    error_message = "Fields must keep their order and direction."
  }
  assert {
    condition     = google_firestore_index.main["jobs: labels CONTAINS, job_id DESCENDING"].fields[0].array_config == "CONTAINS"
    error_message = "Labels must be found by what they contain."
  }
  assert {
    condition     = alltrue([for index in google_firestore_index.main : index.database == "(default)" && index.collection == "jobs" && index.query_scope == "COLLECTION"])
    error_message = "Indexes must be of the collection, in the database."
  }
}

run "a_field_that_is_both_is_one_resource" {
  command = plan

  assert {
    condition     = toset(keys(google_firestore_field.main)) == toset(["jobs.options", "outbox.expires_at", "usage.expires_at"])
    error_message = "There must be one resource a field."
  }
  assert {
    condition     = { for key, field in google_firestore_field.main : key => [length(field.ttl_config), length(field.index_config)] } == { "jobs.options" = [0, 1], "outbox.expires_at" = [1, 1], "usage.expires_at" = [1, 0] }
    error_message = "Each field must have its time to live, its exemption, or both, as given."
  }
  assert {
    condition     = alltrue([for field in google_firestore_field.main : alltrue([for config in field.index_config : length(config.indexes) == 0])])
    error_message = "A field that is exempt must have no index."
  }
  assert {
    condition     = alltrue([for field in google_firestore_field.main : field.database == "(default)"])
    error_message = "Fields must be of the database."
  }
}

run "the_rules_are_released_to_the_default_database" {
  command = plan

  assert {
    condition     = one(google_firebaserules_ruleset.main).source[0].files[0].content == var.rules
    error_message = "The rules must be the given text."
  }
  assert {
    condition     = one(google_firebaserules_release.main).name == "cloud.firestore"
    error_message = "The release of the default database has its service's name alone."
  }
}

run "a_named_database_has_its_own_release" {
  command = plan

  variables {
    database = "earwitness"
  }

  assert {
    condition     = one(google_firestore_database.main).name == "earwitness" && one(google_firebaserules_release.main).name == "cloud.firestore/earwitness"
    error_message = "The release must be that of the named database."
  }
  assert {
    condition     = alltrue([for index in google_firestore_index.main : index.database == "earwitness"]) && alltrue([for field in google_firestore_field.main : field.database == "earwitness"])
    error_message = "Indexes and fields must be in the named database."
  }
}

run "an_existing_database_is_left_as_it_is" {
  command = plan

  variables {
    database        = "existing-one"
    create_database = false
    rules           = null
  }

  assert {
    condition     = length(google_firestore_database.main) == 0 && length(google_firebaserules_ruleset.main) == 0 && length(google_firebaserules_release.main) == 0
    error_message = "Neither the database nor its rules may be made."
  }
  assert {
    condition     = length(google_firestore_index.main) == 2 && alltrue([for index in google_firestore_index.main : index.database == "existing-one"])
    error_message = "The indexes must be made in it."
  }
  assert {
    condition     = output.database.id == "projects/test-project/databases/existing-one"
    error_message = "The output must say the existing database's id."
  }
}

run "a_key_of_ones_own_encrypts_the_database" {
  command = plan

  variables {
    kms_key_name = "projects/test-project/locations/europe-west1/keyRings/ring/cryptoKeys/key"
  }

  assert {
    condition     = one(one(google_firestore_database.main).cmek_config).kms_key_name == var.kms_key_name
    error_message = "The database must be encrypted with the key."
  }
}

run "guards_can_be_turned_off" {
  command = plan

  variables {
    delete_protection      = false
    point_in_time_recovery = false
  }

  assert {
    condition     = one(google_firestore_database.main).delete_protection_state == "DELETE_PROTECTION_DISABLED" && one(google_firestore_database.main).point_in_time_recovery_enablement == "POINT_IN_TIME_RECOVERY_DISABLED"
    error_message = "Both guards must be off."
  }
}

run "a_large_index_has_the_time_that_it_takes" {
  command = plan

  assert {
    condition     = alltrue([for index in google_firestore_index.main : index.timeouts.create == "5h"])
    error_message = "An index of a large collection takes longer than the provider's 20 minutes."
  }
}
