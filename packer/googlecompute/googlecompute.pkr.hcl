# An image in a project of Google Cloud. Its user is no root: -var 'become=sudo -n'.

variable "project" {
  type        = string
  default     = env("GOOGLE_CLOUD_PROJECT")
  description = "By default the environment variable GOOGLE_CLOUD_PROJECT."
}

variable "account_file" {
  type        = string
  default     = ""
  description = "The key file of a service account; empty: what `gcloud auth application-default login` left."
}

variable "zone" {
  type        = string
  default     = "europe-west3-a"
  description = "Where the image is made."
}

variable "machine_type" {
  type        = string
  default     = ""
  description = "Empty: a small one of the architecture."
}

variable "base_image_family" {
  type        = string
  default     = ""
  description = "Empty: Debian 13 of the architecture."
}

variable "ssh_username" {
  type        = string
  default     = "packer"
  description = "The user that is made for the build; the seal takes its keys away."
}

# Machine types as of November 2026.
source "googlecompute" "mailcow-ready" {
  project_id          = var.project
  account_file        = var.account_file
  zone                = var.zone
  machine_type        = var.machine_type != "" ? var.machine_type : (var.architecture == "arm64" ? "t2a-standard-1" : "e2-medium")
  source_image_family = var.base_image_family != "" ? var.base_image_family : (var.architecture == "arm64" ? "debian-13-arm64" : "debian-13")
  disk_size           = 20
  ssh_username        = var.ssh_username
  image_name          = "${var.snapshot_name}-${formatdate("YYYYMMDDhhmm", timestamp())}"
  image_family        = var.snapshot_name
}

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  sources = ["source.googlecompute.mailcow-ready"]

  provisioner "file" {
    source      = var.cowgate_pyz
    destination = "${local.uploads}/cowgate.pyz"
  }

  provisioner "file" {
    source      = var.policy
    destination = "${local.uploads}/policy.yaml"
  }

  provisioner "file" {
    source      = "${path.root}/../marketplace"
    destination = local.uploads
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    environment_vars = [
      "COWGATE_SHA256=${var.cowgate_sha256}",
      "MAILCOW_VERSION=${var.mailcow_version}",
      "ONBOARDING=${var.onboarding}",
    ]
    scripts = [
      "${local.scripts}/wait.sh",
      "${local.scripts}/install.sh",
      "${local.scripts}/build.sh",
      "${local.scripts}/pull.sh",
      "${local.scripts}/onboarding.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "/var/lib/cowgate/readiness.json"
    destination = "${var.report_directory}/googlecompute.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts = [
      var.customize_script,
      "${local.scripts}/seal.sh",
    ]
  }

  provisioner "file" {
    direction   = "download"
    source      = "${local.uploads}/gate.json"
    destination = "${var.report_directory}/googlecompute-gate.json"
  }

  provisioner "shell" {
    remote_folder   = local.uploads
    execute_command = local.execute
    scripts         = ["${local.scripts}/gate.sh"]
  }

  # Only written when the gate passed.
  post-processor "manifest" {
    output     = "${var.report_directory}/manifest.json"
    strip_path = true
    custom_data = {
      verdict        = "passed"
      report         = "googlecompute-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}
