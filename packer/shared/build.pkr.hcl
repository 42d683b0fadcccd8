# What every build does. Each builder's directory links to this file, and says in its own who `local.builder` is.

locals {
  # /dev/shm: nothing that Packer uploads may be left in the image, and /tmp is looked into.
  uploads = "/dev/shm"
  execute = "${var.become} env {{ .Vars }} sh {{ .Path }}"
  scripts = "${path.root}/../scripts"
}

build {
  # Packer takes no variable in `sources` ("Variables not allowed"), and takes one in the label of a block that is made like this.
  dynamic "source" {
    for_each = [local.builder]
    iterator = builder
    labels   = ["source.${builder.value}.mailcow-ready"]
    content {}
  }

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
    destination = "${var.report_directory}/${local.builder}.json"
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
    destination = "${var.report_directory}/${local.builder}-gate.json"
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
      report         = "${local.builder}-gate.json"
      cowgate_sha256 = var.cowgate_sha256
    }
  }
}
