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
  ]
}

run "a_project_by_its_number_is_refused" {
  command         = plan
  expect_failures = [var.project_id]

  variables {
    project_id = "123456789012"
  }
}

run "a_location_that_firestore_does_not_have_is_refused" {
  command         = plan
  expect_failures = [var.location]

  variables {
    location = "EU"
  }
}

run "a_database_with_capitals_is_refused" {
  command         = plan
  expect_failures = [var.database]

  variables {
    database = "Earwitness"
  }
}

run "an_index_of_one_field_is_refused" {
  command         = plan
  expect_failures = [var.indexes]

  variables {
    indexes = [{ collection = "jobs", fields = [{ field_path = "state", order = "ASCENDING" }] }]
  }
}

run "a_field_with_neither_order_nor_array_config_is_refused" {
  command         = plan
  expect_failures = [var.indexes]

  variables {
    indexes = [{ collection = "jobs", fields = [{ field_path = "state" }, { field_path = "job_id", order = "DESCENDING" }] }]
  }
}

run "a_field_with_both_order_and_array_config_is_refused" {
  command         = plan
  expect_failures = [var.indexes]

  variables {
    indexes = [{ collection = "jobs", fields = [{ field_path = "state", order = "ASCENDING", array_config = "CONTAINS" }, { field_path = "job_id", order = "DESCENDING" }] }]
  }
}

run "an_order_that_is_none_is_refused" {
  command         = plan
  expect_failures = [var.indexes]

  variables {
    indexes = [{ collection = "jobs", fields = [{ field_path = "state", order = "UP" }, { field_path = "job_id", order = "DESCENDING" }] }]
  }
}

run "an_index_that_is_named_twice_is_refused" {
  command         = plan
  expect_failures = [var.indexes]

  variables {
    indexes = [
      { collection = "jobs", fields = [{ field_path = "state", order = "ASCENDING" }, { field_path = "job_id", order = "DESCENDING" }] },
      { collection = "jobs", fields = [{ field_path = "state", order = "ASCENDING" }, { field_path = "job_id", order = "DESCENDING" }] },
    ]
  }
}

run "two_times_to_live_in_one_collection_are_refused" {
  command         = plan
  expect_failures = [var.ttl_fields]

  variables {
    ttl_fields = [{ collection = "outbox", field = "expires_at" }, { collection = "outbox", field = "published_at" }]
  }
}

run "a_field_that_is_exempt_twice_is_refused" {
  command         = plan
  expect_failures = [var.exempt_fields]

  variables {
    exempt_fields = [{ collection = "jobs", field = "options" }, { collection = "jobs", field = "options" }]
  }
}

run "rules_of_another_service_are_refused" {
  command         = plan
  expect_failures = [var.rules]

  variables {
    rules = "service firebase.storage { }"
  }
}

run "a_key_without_its_whole_name_is_refused" {
  command         = plan
  expect_failures = [var.kms_key_name]

  variables {
    kms_key_name = "key"
  }
}
