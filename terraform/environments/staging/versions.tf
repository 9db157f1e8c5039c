terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.23, < 9"
    }
  }

  # The bucket comes with `terraform init -backend-config=bucket=NAME`; it is made once, by hand.
  backend "gcs" {
    prefix = "earwitness/staging"
  }
}
