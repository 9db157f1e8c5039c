provider "google" {
  project      = "acme-audio"
  access_token = "none"
}

# What only Google knows, so that a plan shows what leads where.
override_resource {
  target          = google_compute_global_address.main
  override_during = plan
  values          = { id = "projects/acme-audio/global/addresses/earwitness-api", address = "192.0.2.10" }
}
override_resource {
  target          = google_compute_region_network_endpoint_group.service
  override_during = plan
  values          = { id = "projects/acme-audio/regions/europe-west4/networkEndpointGroups/earwitness-api" }
}
override_resource {
  target          = google_compute_url_map.https
  override_during = plan
  values          = { id = "projects/acme-audio/global/urlMaps/earwitness-api" }
}
override_resource {
  target          = google_compute_url_map.redirect
  override_during = plan
  values          = { id = "projects/acme-audio/global/urlMaps/earwitness-api-redirect" }
}
override_resource {
  target          = google_compute_ssl_policy.main
  override_during = plan
  values          = { id = "projects/acme-audio/global/sslPolicies/earwitness-api" }
}
override_resource {
  target          = google_compute_managed_ssl_certificate.main
  override_during = plan
  values          = { id = "projects/acme-audio/global/sslCertificates/earwitness-api-1" }
}
override_resource {
  target          = google_compute_target_https_proxy.main
  override_during = plan
  values          = { id = "projects/acme-audio/global/targetHttpsProxies/earwitness-api" }
}
override_resource {
  target          = google_compute_target_http_proxy.redirect
  override_during = plan
  values          = { id = "projects/acme-audio/global/targetHttpProxies/earwitness-api-redirect" }
}

variables {
  project_id   = "acme-audio"
  region       = "europe-west4"
  labels       = { team = "audio" }
  domain       = "audio.example.com"
  service_name = "earwitness-api"
}

run "a_request_to_the_domain_reaches_the_service" {
  command = plan

  assert {
    condition     = google_compute_global_forwarding_rule.https.target == google_compute_target_https_proxy.main.id && google_compute_global_forwarding_rule.https.port_range == "443"
    error_message = "Port 443 leads to the proxy for HTTPS."
  }
  assert {
    condition     = google_compute_target_https_proxy.main.url_map == google_compute_url_map.https.id
    error_message = "The proxy leads to the service's URL map, not to the redirect."
  }
  assert {
    condition     = one(google_compute_backend_service.service.backend).group == google_compute_region_network_endpoint_group.service.id
    error_message = "The backend is the serverless group."
  }
  assert {
    condition     = google_compute_region_network_endpoint_group.service.cloud_run[0].service == "earwitness-api" && google_compute_region_network_endpoint_group.service.region == "europe-west4"
    error_message = "The group is the Cloud Run service, in its region."
  }
  assert {
    condition     = output.url == "https://audio.example.com" && output.ip_address == "192.0.2.10"
    error_message = "The outputs say what the domain's record has to hold."
  }
}

run "only_modern_tls_is_spoken_and_http_leads_there" {
  command = plan

  assert {
    condition     = google_compute_ssl_policy.main.min_tls_version == "TLS_1_2" && google_compute_ssl_policy.main.profile == "MODERN"
    error_message = "TLS 1.2 at least, with modern ciphers."
  }
  assert {
    condition     = google_compute_target_https_proxy.main.ssl_policy == google_compute_ssl_policy.main.id
    error_message = "The proxy uses that policy."
  }
  assert {
    condition     = google_compute_managed_ssl_certificate.main.managed[0].domains == tolist(["audio.example.com"])
    error_message = "The certificate is for the domain."
  }
  assert {
    condition     = google_compute_url_map.redirect.default_url_redirect[0].https_redirect && google_compute_url_map.redirect.default_url_redirect[0].redirect_response_code == "PERMANENT_REDIRECT"
    error_message = "http:// is redirected to https://, with its method."
  }
  assert {
    condition     = google_compute_global_forwarding_rule.http.target == google_compute_target_http_proxy.redirect.id && google_compute_target_http_proxy.redirect.url_map == google_compute_url_map.redirect.id
    error_message = "Port 80 leads to the redirect and nowhere else."
  }
  assert {
    condition     = google_compute_global_forwarding_rule.http.ip_address == google_compute_global_forwarding_rule.https.ip_address
    error_message = "Both ports are on one address."
  }
}

run "requests_are_logged_and_a_policy_is_used_if_given" {
  command = plan
  variables {
    security_policy = "projects/acme-audio/global/securityPolicies/edge"
  }

  assert {
    condition     = google_compute_backend_service.service.log_config[0].enable && google_compute_backend_service.service.log_config[0].sample_rate == 1
    error_message = "Every request is logged."
  }
  assert {
    condition     = google_compute_backend_service.service.security_policy == "projects/acme-audio/global/securityPolicies/edge"
    error_message = "Cloud Armor checks requests."
  }
  assert {
    condition     = google_compute_global_address.main.labels == tomap({ team = "audio" }) && google_compute_global_forwarding_rule.https.labels == tomap({ team = "audio" })
    error_message = "What can have labels has the caller's."
  }
}

run "another_domain_has_another_certificate" {
  command = plan
  variables {
    domain = "ears.example.com"
  }

  assert {
    condition     = google_compute_managed_ssl_certificate.main.name == "earwitness-api-${substr(sha256("ears.example.com"), 0, 8)}"
    error_message = "The name follows the domain, so that the new certificate can be made while the old one is in use."
  }
}

run "an_address_is_no_domain" {
  command = plan
  variables {
    domain      = "https://audio.example.com"
    name_prefix = "Earwitness"
  }
  expect_failures = [var.domain, var.name_prefix]
}
