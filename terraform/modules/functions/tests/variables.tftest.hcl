# Each mistake is refused by the variable's name.
mock_provider "google" {}

variables {
  project_id     = "acme-audio"
  project_number = "123456789012"
  region         = "europe-west4"
  bundles_dir    = "tests/bundles"
  functions = {
    api = {
      entry_point = "api"
      runtime     = "python311"
      memory      = "512Mi"
      cpu         = "1"
      timeout_s   = 60
      concurrency = 80
      trigger     = "public_http"
    }
  }
  public_functions              = ["api"]
  service_accounts              = { api = "api@acme-audio.iam.gserviceaccount.com", sweep = "sweep@acme-audio.iam.gserviceaccount.com" }
  uploads_bucket                = "acme-audio-uploads"
  upload_events_service_account = "uploads@acme-audio.iam.gserviceaccount.com"
}

run "what_has_another_form_is_refused" {
  command = plan
  variables {
    project_number = "acme-audio"
    name_prefix    = "Earwitness"
    settings       = { earwitness_cloud = "google" }
    secrets        = { report_keys = { secret_id = "keys", version = "latest", project_id = "acme-audio" } }
    public_url     = "https://audio.example.com/"
    network        = { ingress_settings = "INTERNAL" }
    invokers       = { sweep = { me = "user:ada@example.com" } }
  }
  expect_failures = [
    var.project_number, var.name_prefix, var.settings, var.secrets, var.public_url, var.network, var.invokers,
  ]
}

run "what_is_missing_or_open_to_anyone_is_refused" {
  command = plan
  variables {
    bundles_dir      = "tests"
    service_accounts = {}
    settings         = { MODAL_TOKEN_SECRET = "as-secret" }
    network          = { egress_settings = "all" }
    public_functions = ["sweep"]
    invokers         = { api = { all = "allUsers" } }
  }
  expect_failures = [
    var.bundles_dir, var.service_accounts, var.settings, var.network, var.public_functions, var.invokers,
  ]
}

run "a_function_is_named_as_its_bundle" {
  command = plan
  variables {
    functions = {
      "on-call" = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 80
        trigger     = "http"
      }
    }
    public_functions = []
  }
  expect_failures = [var.functions]
}

run "a_trigger_that_does_not_exist_is_refused" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 80
        trigger     = "topic"
      }
    }
    public_functions = []
  }
  expect_failures = [var.functions]
}

run "memory_without_a_unit_is_refused" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 80
        trigger     = "public_http"
      }
    }
  }
  expect_failures = [var.functions]
}

run "concurrency_needs_a_whole_core" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "0.5"
        timeout_s   = 60
        concurrency = 80
        trigger     = "public_http"
      }
    }
  }
  expect_failures = [var.functions]
}

run "concurrency_has_a_limit" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 1001
        trigger     = "public_http"
      }
    }
  }
  expect_failures = [var.functions]
}

run "an_upload_is_handled_within_nine_minutes" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 541
        concurrency = 80
        trigger     = "finalize"
      }
    }
    public_functions = []
  }
  expect_failures = [var.functions]
}

run "more_instances_kept_than_allowed_are_refused" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point   = "api"
        runtime       = "python311"
        memory        = "512Mi"
        cpu           = "1"
        timeout_s     = 60
        concurrency   = 80
        trigger       = "public_http"
        min_instances = 2
        max_instances = 1
      }
    }
  }
  expect_failures = [var.functions]
}

run "a_secret_that_does_not_exist_is_refused" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 80
        trigger     = "public_http"
        secrets     = ["modal_token"]
      }
    }
    secrets = { modal_token = { secret_id = "modal", version = "1", project_id = "acme-audio" } }
  }
  expect_failures = [var.functions]
}

run "a_public_function_cannot_wait_for_the_report_url" {
  command = plan
  variables {
    functions = {
      on_report = {
        entry_point      = "api"
        runtime          = "python311"
        memory           = "512Mi"
        cpu              = "1"
        timeout_s        = 60
        concurrency      = 80
        trigger          = "public_http"
        needs_report_url = true
      }
    }
    public_functions = []
    service_accounts = { on_report = "report@acme-audio.iam.gserviceaccount.com" }
  }
  expect_failures = [var.functions]
}

run "the_report_url_needs_on_report" {
  command = plan
  variables {
    functions = {
      sweep = {
        entry_point      = "api"
        runtime          = "python311"
        memory           = "512Mi"
        cpu              = "1"
        timeout_s        = 60
        concurrency      = 80
        trigger          = "http"
        needs_report_url = true
      }
    }
    public_functions = []
  }
  expect_failures = [var.functions]
}

run "a_secret_that_nobody_gave_is_refused" {
  command = plan
  variables {
    functions = {
      api = {
        entry_point = "api"
        runtime     = "python311"
        memory      = "512Mi"
        cpu         = "1"
        timeout_s   = 60
        concurrency = 80
        trigger     = "public_http"
        secrets     = ["report_keys"]
      }
    }
  }
  expect_failures = [var.secrets]
}
